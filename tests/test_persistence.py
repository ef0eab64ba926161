"""Estimators and pipelines in files: what is loaded is what was saved, or it is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

import icfl
from icfl import baselines, model_file, persistence
from icfl.exceptions import InputError, InputTypeError, ModelFileError

X = np.random.default_rng(0).normal(size=(20, 3))


class Shift(TransformerMixin, BaseEstimator):
    """The smallest estimator with a state: it adds `by` and takes the mean away."""

    def __init__(self, by: float = 0.0) -> None:
        self.by = by

    def fit(self, X: np.ndarray, y: object = None, control: object = None) -> Shift:
        self.mean_ = np.mean(X, axis=0)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: np.ndarray, batch: object = None) -> np.ndarray:
        return X - self.mean_ + self.by

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"by": self.by, "n_features_in": self.n_features_in_}, {"mean": self.mean_}

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Shift:
        if tensors["mean"].shape != (config["n_features_in"],):
            raise ValueError(f"mean: expected {config['n_features_in']} numbers")
        self = cls(by=config["by"])
        self.mean_ = tensors["mean"]
        self.n_features_in_ = config["n_features_in"]
        return self


class Scale(Shift):
    """Another class that can be saved; it shares the names of its tensors with the first."""

    def transform(self, X: np.ndarray, batch: object = None) -> np.ndarray:
        return X / np.abs(self.mean_)


class Shift2(Shift):
    """A subclass that nobody registered: loaded as its parent it would be another model."""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(persistence.CLASSES, "Shift", __name__)
    monkeypatch.setitem(persistence.CLASSES, "Scale", __name__)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the name of a file that does not exist yet."""
    return tmp_path / "model.safetensors"


def test_an_estimator_comes_back(path: Path) -> None:
    model = Shift(by=0.25).fit(X)
    persistence.save(model, path)
    loaded = persistence.load(path)
    assert type(loaded) is Shift
    assert loaded.get_params() == {"by": 0.25}
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X), strict=True)
    assert model_file.read(path)[0].keys() == {"mean"}


def test_a_pipeline_comes_back_with_its_preprocessing(path: Path) -> None:
    model = Pipeline([("whiten", Shift(by=1.0)), ("", Scale()), ("whiten2", Shift())]).fit(X)
    persistence.save(model, path)
    loaded = persistence.load(path)
    assert [(name, type(step)) for name, step in loaded.steps] == [
        ("whiten", Shift),
        ("", Scale),
        ("whiten2", Shift),
    ]
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X), strict=True)
    assert model_file.read(path)[0].keys() == {"whiten/mean", "/mean", "whiten2/mean"}


def test_metadata_requests_survive(path: Path) -> None:
    """Without them a loaded pipeline would refuse the batch labels its whitener needs."""
    with sklearn.config_context(enable_metadata_routing=True):
        step = Shift().set_transform_request(batch=True).set_fit_request(control="is_control")
        persistence.save(Pipeline([("shift", step)]).fit(X), path)
    (_, loaded), *_ = persistence.load(path).steps
    assert loaded.get_metadata_routing().transform.requests == {"batch": True}
    assert loaded.get_metadata_routing().fit.requests == {"control": "is_control"}


def test_the_file_says_what_wrote_it(path: Path) -> None:
    persistence.save(Shift().fit(X), path)
    versions = model_file.read(path)[1]["written_with"]
    assert versions["numpy"] == np.__version__
    assert versions["scikit-learn"] == sklearn.__version__
    assert versions["icfl"]


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (PCA(), InputTypeError, "expected .*ICFL.* or a Pipeline of them, got PCA of sklearn.*"),
        (Shift2().fit(X), InputTypeError, "got Shift2"),
        (Pipeline([("a", Shift().fit(X)), ("b", "passthrough")]), InputTypeError, "got str"),
        (Pipeline([("a", Pipeline([("b", Shift().fit(X))]))]), InputTypeError, "got Pipeline"),
        (Pipeline([("a/b", Shift().fit(X))]), InputError, "free of '/', got 'a/b'"),
        (None, InputTypeError, "got NoneType"),
        (Shift, InputTypeError, "got type"),
    ],
)
def test_what_cannot_be_saved(path: Path, model: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        persistence.save(model, path)
    assert not path.exists()


def test_a_class_of_the_same_name_is_not_the_same_class(path: Path) -> None:
    impostor = type("Shift", (Shift,), {})().fit(X)
    with pytest.raises(InputTypeError, match="got Shift"):
        persistence.save(impostor, path)


STEP = {
    "name": "shift",
    "class": "Shift",
    "config": {"by": 0.0, "n_features_in": 3},
    "requests": {},
}
MEAN = {"mean": np.zeros(3)}


def described(**changes: object) -> dict[str, Any]:
    return {"kind": "estimator", "steps": [{**STEP, **changes}]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "holds no estimator"),
        ({"kind": "checkpoint", "steps": [STEP]}, "holds no estimator"),
        ({"kind": "estimator", "steps": []}, "holds no estimator"),
        ({"kind": "estimator", "steps": {"0": STEP}}, "holds no estimator"),
        ({"kind": "estimator", "steps": [None]}, "lacks its class"),
        ({"kind": "pipeline", "steps": ["shift"]}, "a step has no name"),
        ({"kind": "pipeline", "steps": [{**STEP, "name": 3}]}, "a step has no name"),
        ({"kind": "pipeline", "steps": [STEP]}, "KeyError"),
        (described(**{"class": None}), "lacks its class"),
        (
            described(**{"class": "TopKSAE9"}),
            "'TopKSAE9', which this version of icfl does not know",
        ),
        (described(**{"class": "os.system"}), "does not know"),
        (described(config=[]), "lacks its class or configuration"),
        (described(config={}), "no Shift has this state .KeyError"),
        (described(config={"by": 0.0, "n_features_in": 4}), "mean: expected 4 numbers"),
        (described(config={"by": 0.0, "n_features_in": {}}), "no Shift has this state"),
        (described(requests=None), "lacks its class"),
        (described(requests={"__init__": {}}), "metadata requests for '__init__'"),
        (described(requests={"fit": {"no_such": True}}), "no Shift has this state .TypeError"),
        (described(requests={"fit": 3}), "no Shift has this state .TypeError"),
        (described(requests={"fit": {"control": 3.5}}), "no Shift has this state .ValueError"),
    ],
)
def test_whole_files_that_contradict_themselves(
    path: Path, metadata: dict[str, Any], message: str
) -> None:
    model_file.write(path, MEAN, metadata)
    with pytest.raises(ModelFileError, match=message) as caught:
        persistence.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensors_of_no_step_are_noticed(path: Path) -> None:
    tensors = {"shift/mean": np.zeros(3), "scale/mean": np.zeros(3)}
    model_file.write(path, tensors, {"kind": "pipeline", "steps": [STEP]})
    with pytest.raises(ModelFileError, match="belong to none of its steps"):
        persistence.load(path)


def test_the_unedited_description_is_fine(path: Path) -> None:
    model_file.write(path, MEAN, described())
    assert type(persistence.load(path)) is Shift


# The package's own estimators

ROWS = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
ATOMS = np.random.default_rng(2).normal(size=(9, 6)).astype(np.float32)
BATCHES = np.repeat(["plate 1", "plate 2"], 150)


def whitener() -> icfl.ControlWhitener:
    return icfl.ControlWhitener().fit(ROWS, control=np.arange(300) % 3 > 0)


def batch_whitener() -> icfl.ControlWhitener:
    return icfl.ControlWhitener(batch_correction="coral").fit(ROWS, batch=BATCHES)


def coder() -> icfl.SparseCoder:
    return icfl.SparseCoder(ATOMS, algorithm="omp", n_nonzero=3).fit(ROWS)


def learner() -> icfl.ICFL:
    model = icfl.ICFL(9, n_iterations=2, atoms_per_iteration=2, max_steps=3, random_state=0)
    return model.fit(ROWS)


def pca() -> baselines.PCA:
    return baselines.PCA(4, n_nonzero=np.int64(2)).fit(ROWS)


def ica() -> baselines.ICA:
    return baselines.ICA(3, random_state=0, tol=0.1).fit(ROWS)


def nmf() -> baselines.NMF:
    return baselines.NMF(2, random_state=np.random.RandomState(0), tol=0.1).fit(abs(ROWS))


def kmeans() -> baselines.KMeans:
    return baselines.KMeans(5, random_state=0).fit(ROWS)


def random_atoms() -> baselines.RandomAtoms:
    return baselines.RandomAtoms(9, kind="data", random_state=0, n_nonzero=3).fit(ROWS)


def raw_inputs() -> baselines.RawInputs:
    return baselines.RawInputs(n_nonzero=2).fit(ROWS)


def topk_sae() -> icfl.TopKSAE:
    return icfl.TopKSAE(9, n_nonzero=3, max_steps=3, random_state=0).fit(ROWS)


def abs_topk_sae() -> icfl.AbsTopKSAE:
    return icfl.AbsTopKSAE(9, n_nonzero=3, max_steps=3, random_state=0).fit(ROWS)


def batch_topk_sae() -> icfl.BatchTopKSAE:
    model = icfl.BatchTopKSAE(9, n_nonzero=3, max_steps=3, unit_norm_inputs=False, random_state=0)
    return model.fit(ROWS)


def matryoshka_sae() -> icfl.MatryoshkaSAE:
    model = icfl.MatryoshkaSAE(9, n_nonzero=3, widths=(2, 9), max_steps=3, random_state=0)
    return model.fit(ROWS)


def jump_relu_sae() -> icfl.JumpReLUSAE:
    model = icfl.JumpReLUSAE(9, n_nonzero=3, bandwidth=0.2, max_steps=3, random_state=0)
    return model.fit(ROWS)


def matching_pursuit_sae() -> icfl.MatchingPursuitSAE:
    return icfl.MatchingPursuitSAE(9, n_nonzero=3, max_steps=3, random_state=0).fit(ROWS)


def pipeline() -> Pipeline:
    return Pipeline([("whiten", whitener()), ("learn", learner())])


BASELINES = [pca, ica, nmf, kmeans, random_atoms, raw_inputs]
AUTOENCODERS = [
    topk_sae,
    abs_topk_sae,
    batch_topk_sae,
    matryoshka_sae,
    jump_relu_sae,
    matching_pursuit_sae,
]
OWN = [whitener, batch_whitener, coder, learner, *AUTOENCODERS, *BASELINES, pipeline]


def test_every_class_that_can_be_saved_is_among_them() -> None:
    made = {type(make()).__name__ for make in OWN} - {"Pipeline"}
    assert made == persistence.CLASSES.keys() - {"Shift", "Scale"}


def outputs(model: Any) -> np.ndarray:
    routed = {"batch": BATCHES} if getattr(model, "batch_correction", None) else {}
    rows = abs(ROWS) if isinstance(model, baselines.NMF) else ROWS
    result = model.transform(rows, **routed)
    return result.toarray() if hasattr(result, "toarray") else result


@pytest.mark.parametrize("make", OWN)
def test_own_estimators_come_back(path: Path, make: Any) -> None:
    model = make()
    persistence.save(model, path)
    loaded = persistence.load(path)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(outputs(loaded), outputs(model), strict=True)
    persistence.save(loaded, path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("make", OWN)
def test_own_estimators_check_the_shape_of_every_tensor(path: Path, make: Any) -> None:
    persistence.save(make(), path)
    tensors, metadata = model_file.read(path)
    taken = []
    for name, tensor in tensors.items():
        for wrong in (None, np.append(tensor, tensor), tensor[None], np.zeros((), tensor.dtype)):
            if np.shape(wrong) == np.shape(tensor) and wrong is not None:
                continue  # a number may be another number
            edited = {k: v for k, v in tensors.items() if k != name}
            edited |= {} if wrong is None else {name: wrong}
            model_file.write(path, edited, metadata)
            with contextlib.suppress(ModelFileError):
                persistence.load(path)
                taken.append((name, np.shape(wrong)))
    assert taken == []


@pytest.mark.parametrize("make", OWN)
@pytest.mark.parametrize("wrong", [None, -1, "text", [], {}, 1e300, True])
def test_own_estimators_refuse_a_nonsensical_configuration(
    path: Path, make: Any, wrong: object
) -> None:
    """Whatever one value of the configuration becomes: a model, or a ModelFileError."""
    persistence.save(make(), path)
    tensors, metadata = model_file.read(path)
    for step in metadata["steps"]:
        for key, right in step["config"].items():
            step["config"][key] = wrong
            model_file.write(path, tensors, metadata)
            with contextlib.suppress(ModelFileError):
                persistence.load(path)
            step["config"][key] = right
