"""What a result must say of the machine and of the software it was measured with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from icfl import _core

__all__ = ["describe_machine", "load_average", "versions"]

PACKAGES = ("icfl", "numpy", "scipy", "scikit-learn", "torch", "spams-bin")


def describe_machine() -> dict[str, str | int]:
    """Return CPU model, cores this process may use, instruction set in use, memory and system."""
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "simd": _core.simd_level(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the version of Python and of every package in the table, or "missing"."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def load_average() -> float | None:
    """Return the load of the last minute, ours included, or None where there is no such thing."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def _cpu_model() -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    found: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        for key, _, value in lines:
            found.setdefault(key.strip(), value.strip())
    name = found.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in found:  # virtual machines hide the name, but not which core it is
        name += f" (family {found['cpu family']}, model {found['model']})"
    return name
