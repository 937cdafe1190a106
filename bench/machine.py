"""What the figures were measured on: no figure is worth anything without it."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from msgspec import Struct

__all__ = ["Machine", "this_machine"]

_PACKAGES = (
    "enginehouse",
    "uvicorn",
    "httptools",
    "uvloop",
    "aiohttp",
    "fastapi",
    "starlette",
    "pydantic",
    "msgspec",
)


class Machine(Struct, frozen=True, kw_only=True):
    """The machine and what runs on it."""

    cpu: str
    cores: int
    """Cores that we may use."""
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    load: float
    """Share of all CPU time that others used just before the run, 0 to 1: what disturbed it."""


def this_machine() -> Machine:
    """Look around, which takes half a second."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {_plain(platform.release())}",
        python=f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        load=psutil.cpu_percent(0.5) / 100,
    )


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text()
    named = re.search(r"^model name\s*:\s*(.+)$", lines, re.MULTILINE)
    return named[1] if named else platform.machine()


def _plain(release: str) -> str:
    """A kernel's version without the name of its build."""
    return release.partition("-")[0]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
