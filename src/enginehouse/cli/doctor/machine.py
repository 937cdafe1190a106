"""The machine: interpreter, processor, memory, graphics processors."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from rich.filesize import decimal

from enginehouse.cli.doctor.finding import Finding, Status

__all__ = ["gpus", "look_at_machine", "memory", "processor", "python"]

OLDEST_PYTHON = (3, 11)
LITTLE_MEMORY = 2_000_000_000
"""Bytes below which hardly any chat model runs beside all else."""
USEFUL = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
"""Processor features that llama.cpp and the ONNX runtime make use of."""
GPU_TYPES = (1, 2)
"""llama.cpp's numbers for cards with memory of their own and for those that share the machine's."""
DEVICE_SECONDS = 20.0
"""Drivers may take a while, and may hang."""


def look_at_machine() -> Iterator[Finding]:
    """Everything about this machine."""
    yield python(sys.version_info[:3])
    yield processor(platform.machine(), processor_features(), usable_cores())
    memory_now = psutil.virtual_memory()
    yield memory(memory_now.total, memory_now.available)
    yield gpus(devices())


def python(version: tuple[int, int, int]) -> Finding:
    """The interpreter that runs this."""
    text = f"{'.'.join(map(str, version))} at {sys.executable}"
    if version[:2] < OLDEST_PYTHON:
        return Finding("python", Status.FAIL, text, f"Install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.")
    return Finding("python", Status.OK, text)


def processor(machine: str, features: Collection[str] | None, cores: int) -> Finding:
    """Cores and instructions; `features` is None where the system does not tell."""
    counted = f"{machine}, {cores} core{'s' if cores != 1 else ''}"
    if features is None:
        return Finding("processor", Status.OK, counted)
    useful = [name for name in USEFUL if name in features]
    if machine == "x86_64" and "avx2" not in useful:
        return Finding(
            "processor",
            Status.WARN,
            f"{counted}, no AVX2",
            "Models run, but slowly; use a machine of 2013 or later.",
        )
    return Finding("processor", Status.OK, f"{counted}, {' '.join(useful)}" if useful else counted)


def memory(total: int, available: int) -> Finding:
    """How much of it there is; sizes in bytes."""
    text = f"{decimal(available)} of {decimal(total)} available"
    if available < LITTLE_MEMORY:
        return Finding("memory", Status.WARN, text, "Close other programs, or keep to small models.")
    return Finding("memory", Status.OK, text)


def gpus(found: Sequence[Mapping[str, Any]] | None) -> Finding:
    """Graphics processors that the bundled engine sees; None when it could not say."""
    if found is None:
        return Finding("gpu", Status.OK, "not known: the bundled engine is not installed or did not answer")
    cards = [device for device in found if device.get("type") in GPU_TYPES]
    if not cards:
        return Finding("gpu", Status.OK, "none; models run on the processor")
    texts = [f"{card.get('description')} ({decimal(int(card.get('memory_total', 0)))})" for card in cards]
    return Finding("gpu", Status.OK, ", ".join(texts))


def processor_features() -> frozenset[str] | None:
    """Flags of the processor as Linux lists them; None on other systems."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, words = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return frozenset(words.split())
    return None


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


def devices() -> list[Mapping[str, Any]] | None:
    """Asked in a child process, since a bad driver may take its process with it."""
    code = "import json, xllamacpp; print(json.dumps(xllamacpp.get_device_info(), default=str))"
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        child = subprocess.run(  # noqa: S603 - our own interpreter and our own text
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEVICE_SECONDS, check=True
        )
        return json.loads(child.stdout.splitlines()[-1])
    return None
