"""Other semantic caches on the same pairs: as their packages come, with their own defaults, and with our vectors.

What they embed with by default comes from model hubs at run time; through their own hooks they are given the
vectors of our embedder instead, so that what differs is the decision. `make bench-cache` makes their environment.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.cache.minds import embed_all
from bench.cache.pairs import Pair
from bench.processes import ROOT, BenchError

__all__ = ["RIVALS", "served_by"]

RIVALS = {"gptcache": "GPTCache 0.1.44", "redisvl": "RedisVL 0.28.0"}
"""Scripts beside this one, and whose they are."""
PYTHON = ROOT / ".bench" / "rivals" / "bin" / "python"
_PATIENCE = 600
"""Seconds for all pairs."""


def served_by(rival: str, pairs: Sequence[Pair]) -> list[bool]:
    """For each pair, whether it gives the stored question's answer to the one that is asked.

    Raises:
        BenchError: it is not installed, or failed.
    """
    if not PYTHON.exists():
        raise BenchError("The other caches are not installed; `make bench-cache` does it.")
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.stored, pair.asked)))
    vectors = {text: vector.tolist() for text, vector in zip(texts, embed_all(texts), strict=True)}
    told = {"vectors": vectors, "pairs": [[pair.stored, pair.asked] for pair in pairs]}
    script = Path(__file__).with_name(f"rival_{rival}.py")
    done = subprocess.run(
        [PYTHON, script], input=msgspec.json.encode(told), capture_output=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        raise BenchError(f"{RIVALS[rival]} failed: {done.stderr.decode().strip().splitlines()[-1:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=list[bool])
