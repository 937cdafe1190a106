"""The public data set of the trials: fow-cache by Mabon ap Gwyn, CC BY 4.0, from its package."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from bench.cache.pairs import Pair, halves
from bench.processes import ROOT, BenchError

__all__ = ["conversations", "questions"]

FOLDER = ROOT / ".bench" / "fow-cache" / "fow_cache" / "data"
"""Where `make bench-cache` unpacks it."""


class _Row(msgspec.Struct, frozen=True):
    id: str
    category: str
    a: str
    b: str
    same_answer: bool


def questions(*, calibration: bool | None = None) -> list[Pair]:
    """Pairs of questions: one half of them, or all; which half a pair is in follows from its id alone."""
    return [
        Pair(row.a, row.b, row.same_answer, row.category)
        for row in _rows(FOLDER / "pairs.jsonl")
        if calibration is None or halves(row.id) == calibration
    ]


def conversations() -> list[dict[str, Any]]:
    """Pairs of conversations whose last turns are alike."""
    files = sorted(_there("conv-parts").glob("*.jsonl")) + sorted(_there("conv-long").glob("*.jsonl"))
    return [msgspec.json.decode(line) for file in files for line in file.read_bytes().splitlines() if line]


@cache
def _rows(file: Path) -> list[_Row]:
    lines = _there(file.name).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=_Row) for line in lines if line]


def _there(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        raise BenchError("The data set fow-cache is not there; `make bench-cache` fetches it.")
    return path
