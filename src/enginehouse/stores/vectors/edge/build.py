"""A search graph on its way: the process that builds it beside the collection, and what changed meanwhile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import qdrant_edge as edge

from enginehouse.stores.vectors.base import NativeId

__all__ = ["Build"]


class Build:
    """One build, from the copy to the finished graph.

    Args:
        source: the shard that is copied; it must not change until `copying` is False.
        target: the folder in which the copy and its graph are made.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self.target = target
        self.copying, self.built, self.failed = True, False, False
        self.shard: edge.EdgeShard | None = None
        """The copy, opened, once it is built."""
        self.changed: dict[NativeId, None] = {}
        """Points that changed since the copy was taken."""
        command = [sys.executable, "-m", "enginehouse.stores.vectors.edge.builder"]
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [*command, str(source), str(target), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._words = self._process.stdout
        os.set_blocking(self._words.fileno(), False)

    def listen(self) -> None:
        """Hear what it has said since."""
        if self.built:
            return
        ended = self._process.poll() is not None
        said = self._words.read() or b""
        if b"copied" in said:
            self.copying = False
        if ended:
            self.built, self.failed = self._process.returncode == 0, self._process.returncode != 0
            self._words.close()

    def give_up(self) -> None:
        """Stop it and forget what it made."""
        self._process.kill()
        self._process.wait()
        self._words.close()
        if self.shard is not None:
            self.shard.close()
        shutil.rmtree(self.target, ignore_errors=True)
