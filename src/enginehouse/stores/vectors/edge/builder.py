"""Builds the search graph of a copy of a collection, in a process of its own: `builder.py SOURCE TARGET PARENT`.

The embedded index holds Python's global lock while it builds, for minutes; whoever serves searches cannot be the
one who builds. It says `copied` when the source may change again, and `built` when the target is complete.
"""

import os
import shutil
import sys
from pathlib import Path

import qdrant_edge as edge

from enginehouse.stores.vectors.edge.tether import die_with

__all__: list[str] = []

_KINDNESS = 10
"""Whoever serves comes first."""


def build(source: Path, target: Path) -> None:
    """Copy a flushed shard that nobody writes to, and put every vector of the copy into the graph."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    _say("copied")
    shard = edge.EdgeShard.load(str(target))
    shard.optimize()
    shard.flush()
    shard.close()
    _say("built")


def _say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


if __name__ == "__main__":
    die_with(int(sys.argv[3]))
    os.nice(_KINDNESS)
    build(Path(sys.argv[1]), Path(sys.argv[2]))
