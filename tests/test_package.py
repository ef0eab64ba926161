"""The package as a whole: what it offers, what it costs to import, and what may use what."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import icfl
from icfl import _core

PACKAGE = Path(icfl.__file__).parent
ROOT = Path(__file__).parent.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
STUB = PACKAGE / "_core.pyi"

# Names of the fixed interface: users' code and users' model files rely on them.
PROMISED = {
    "ICFL",
    "ControlWhitener",
    "SparseCoder",
    "datasets",
    "encode_icfl",
    "encode_mp",
    "encode_omp",
    "encode_topk",
    "load",
    "load_external",
    "metrics",
    "open_activations",
    "save_external",
}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


# What it offers


def test_the_fixed_interface_is_there() -> None:
    assert set(icfl.__all__) >= PROMISED
    assert len(set(icfl.__all__)) == len(icfl.__all__)
    assert dir(icfl) == sorted(icfl.__all__)


def test_every_public_name_loads_and_others_are_refused() -> None:
    for name in icfl.__all__:
        assert getattr(icfl, name) is getattr(icfl, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = icfl.no_such_name


def test_static_and_lazy_names_agree() -> None:
    """What a type checker is told under TYPE_CHECKING is what `__getattr__` gives, name by name."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {}
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        told.update({alias.name: node.module for alias in node.names})
    assert told.keys() | {"__version__"} == set(icfl.__all__)
    for name, module in told.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(icfl, name)


def test_versions_agree() -> None:
    cargo = (ROOT / "Cargo.toml").read_text()
    (version,) = re.findall(r'^version = "(.+)"$', cargo, re.MULTILINE)
    assert icfl.__version__ == _core.__version__ == version
    assert f"[{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_it_is_typed_and_small() -> None:
    assert (PACKAGE / "py.typed").exists()
    shipped = [p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in shipped) < 10_000_000


# What the stub says (mypy.stubtest compares the types too, in `make lint`)


def stub_signatures() -> Iterator[tuple[str, list[str] | None]]:
    """Yield (qualified name, parameters; None for a property) of what the stub defines."""
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, [a.arg for a in node.args.args]
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    name = node.name if method.name == "__new__" else f"{node.name}.{method.name}"
                    parameters = [a.arg for a in method.args.args if a.arg not in ("self", "cls")]
                    yield name, None if method.decorator_list else parameters


@pytest.mark.parametrize(("name", "parameters"), list(stub_signatures()))
def test_the_binary_has_what_the_stub_says(name: str, parameters: list[str] | None) -> None:
    value: Any = _core
    for part in name.split("."):
        value = getattr(value, part)
    if parameters is None:
        assert inspect.isdatadescriptor(value)
    else:
        assert [p for p in inspect.signature(value).parameters if p != "self"] == parameters


def test_the_stub_has_what_the_binary_has() -> None:
    found = {name for name, value in vars(_core).items() if not name.startswith("_")}
    for name in [name for name in found if inspect.isclass(getattr(_core, name))]:
        members = vars(getattr(_core, name))
        found |= {f"{name}.{member}" for member in members if not member.startswith("_")}
    assert found == {name for name, _ in stub_signatures()}


# What it says of itself


def public_objects() -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes of `icfl` and of its public modules."""
    for name in icfl.__all__:
        value = getattr(icfl, name)
        if inspect.ismodule(value):
            yield from ((f"{name}.{n}", getattr(value, n)) for n in value.__all__)
        else:
            yield name, value


DOCUMENTED = [
    pytest.param(value, id=name)
    for name, value in public_objects()
    if inspect.isfunction(value)
    or (inspect.isclass(value) and value.__init__ is not object.__init__)
]


def sections(docstring: str) -> dict[str, str]:
    """Return the text of each numpydoc section; the summary is under ``""``."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented_names(text: str) -> set[str]:
    heads = re.findall(
        r"^(\*{0,2}[A-Za-z_][\w, *]*?) *(?::|$)", inspect.cleandoc(text), re.MULTILINE
    )
    return {name.strip(" *") for head in heads for name in head.split(",")}


def public_methods(value: Any) -> list[Any]:
    if not inspect.isclass(value):
        return []
    own = [klass for klass in value.__mro__ if klass.__module__.startswith("icfl")]
    members = {name: member for klass in reversed(own) for name, member in vars(klass).items()}
    unwrapped = [getattr(member, "__func__", member) for member in members.values()]
    return [m for m in unwrapped if inspect.isfunction(m) and not m.__name__.startswith("_")]


def is_exception(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


@pytest.mark.parametrize("value", [p for p in DOCUMENTED if not is_exception(p.values[0])])
def test_public_names_are_documented(value: Any) -> None:
    found = sections(value.__doc__ or "")
    assert found[""].strip()
    told = documented_names(found.get("Parameters", "")) | documented_names(
        found.get("Attributes", "")
    )
    if getattr(value, "_is_protocol", False):
        return  # a face: it is not called, and its methods have a test of their own
    assert set(inspect.signature(value).parameters) - told == set()
    # A class that is only ever returned has its fields under Attributes; it is shown where it comes
    # from.
    if inspect.isfunction(value) or "Parameters" in found:
        assert ">>>" in found.get("Examples", ""), "no Examples"
    if inspect.isfunction(value) and inspect.signature(value).return_annotation != "None":
        assert found.get("Returns", found.get("Yields")), "no Returns"


@pytest.mark.parametrize("value", [p for p in DOCUMENTED if inspect.isclass(p.values[0])])
def test_methods_are_documented(value: type) -> None:
    for method in public_methods(value):
        found = sections(method.__doc__ or "")
        assert found[""].strip(), method.__qualname__
        own = set(inspect.signature(method).parameters) - {"self", "cls", "y"}
        # One argument is said in the summary; `from_state` is the files' face, said in persistence.
        if len(own) > 1 and method.__name__ not in {"get_state", "from_state"}:
            told = documented_names(found.get("Parameters", ""))
            assert own - told == set(), method.__qualname__


def modules() -> list[str]:
    walked = pkgutil.walk_packages(icfl.__path__, "icfl.")
    return [m.name for m in walked if not m.name.endswith(("._core", ".__main__"))]


@pytest.mark.parametrize("name", modules())
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where an example writes a file, it is not into the checkout
    module: ModuleType = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), "no module docstring"
    # NumPy 2 shows scalars as np.float64(0.5); examples show what NumPy 1 does.
    new = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
    with np.printoptions(legacy="1.25" if new else False):
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.testmod(module, optionflags=flags).failed == 0


# What it costs to import

OPTIONAL = {
    "torch", "pandas", "pyarrow", "matplotlib", "zarr", "anndata", "dask", "jinja2", "rich",
    "huggingface_hub",
}  # fmt: skip


def fresh_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_import_takes_less_than_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import icfl; print(time.perf_counter() - t)"
    assert min(float(fresh_python(code)) for _ in range(5)) < 0.5


def test_import_brings_in_nothing_optional_and_nothing_heavy() -> None:
    loaded = set(fresh_python("import icfl, sys; print(*sys.modules)").split())
    assert loaded & (OPTIONAL | {"sklearn", "scipy"}) == set()


def test_the_whole_core_brings_in_nothing_optional() -> None:
    code = """
import sys, icfl
for name in icfl.__all__:
    getattr(icfl, name)
print(*sys.modules)
"""
    # scikit-learn 1.9 itself brings in pandas where it is installed.
    without_us = "import sklearn.base, sklearn.linear_model, sys; print(*sys.modules)"
    own = set(fresh_python(code).split()) - set(fresh_python(without_us).split())
    assert own & OPTIONAL == set()


# What may use what

# Layers from the bottom up: the core, adapters, what faces people. A module may import from its own
# layer and those below; `icfl` itself names its parts by string only.
ADAPTERS = ("exchange", "io", "torch")
OUTERMOST = ("cli", "report")
# Where each optional package may be imported, and nowhere else; inside functions but for torch.
HOMES = {
    "torch": ("torch", "exchange"),
    "huggingface_hub": ("hub",),
    "pandas": ("io", "datasets", "metrics"),
    "pyarrow": ("io",),
    "zarr": ("io",),
    "anndata": ("io",),
    "matplotlib": ("report",),
    "jinja2": ("report",),
    "rich": ("cli", "report"),
}


def part(path: Path) -> str:
    """Return the part of the package that a file belongs to, such as "io" or "learner"."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int:
    return 2 if name in OUTERMOST else 1 if name in ADAPTERS else 0


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Yield every absolute module name that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_imports_upward(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    for name, node in imported(ast.parse(path.read_text())):
        package, _, rest = name.partition(".")
        if package == "icfl":
            target = rest.partition(".")[0]
            assert layer(target) <= layer(part(path)), f"line {node.lineno}: {name}"
            if part(path) in ADAPTERS and target in ADAPTERS:
                assert target == part(path), f"line {node.lineno}: one adapter uses another"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_optional_packages_stay_in_their_adapters(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for name, node in imported(tree):
        package = name.partition(".")[0]
        if package in OPTIONAL:
            assert part(path) in HOMES.get(package, ()), f"line {node.lineno}: {name}"
            at_the_top = node.col_offset == 0
            assert not at_the_top or package == part(path), f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_command_line_and_reports_print(path: Path) -> None:
    if part(path) in OUTERMOST:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            stream = (node.value.id, node.attr) in {("sys", "stdout"), ("sys", "stderr")}
            assert not stream, f"line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {name.partition(".")[0] for name, _ in imported(tree)}
    assert modules & {"pickle", "cloudpickle", "dill", "marshal", "shelve"} == set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}, f"line {node.lineno}"


def test_unsafe_lives_in_the_kernels_alone() -> None:
    kernels = ROOT / "rust" / "core" / "src" / "kernels"
    sources = sorted((ROOT / "rust").rglob("*.rs"))
    assert kernels / "mod.rs" in sources
    for path in sources:
        if kernels not in path.parents:
            code = re.sub(r"//.*", "", path.read_text())
            assert not re.search(r"\bunsafe\b", code), path


def project_files() -> list[Path]:
    """Return the files that git tracks or would track; of an unpacked archive, the main ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.split("\0") if done.returncode == 0 else ["README.md", "pyproject.toml"]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    machine = re.compile(rb"(?<![\w.$}~/])/(?:work|tmp|root|home|Users)/\w")
    for path in project_files():
        data = path.read_bytes()
        if b"\0" not in data:
            assert not machine.search(data), path
