"""The process of the embedded index: `worker.py FOLDER TUNING PATIENCE PARENT`; requests come in, answers go out.

It is a process of its own because the index holds Python's global lock while it works, and because memory-mapped
files end a process when the disk is full. It does one thing after the other, and ends when its standard input does.
"""

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from enginehouse.errors import EnginehouseError
from enginehouse.stores.vectors.base import Key
from enginehouse.stores.vectors.edge import messages as m
from enginehouse.stores.vectors.edge.shelf import Shelf, is_panic
from enginehouse.stores.vectors.edge.tether import die_with
from enginehouse.stores.vectors.edge.tuning import Tuning

__all__ = ["LOCKED", "Worker"]

LOCKED = 75
"""Exit code: another process has the folder."""
_PANICKED = 70
_TICK = 0.05
"""Seconds between two looks at what goes on in the background."""
_CHUNK = 1 << 20


class Worker:
    """Answers frames, each with one frame; changes of a collection that is being copied wait for the copy's end.

    Args:
        shelf: what is asked about.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._waiting: dict[Key, list[m.Ask]] = {}

    def take(self, ask: m.Ask) -> Iterator[bytes]:
        """Answer it, or put it aside."""
        if isinstance(ask.question, m.WRITES) and self._shelf.copying(ask.question.key):
            self._waiting.setdefault(ask.question.key, []).append(ask)
        else:
            yield self._answer(ask)

    def tend(self) -> Iterator[bytes]:
        """Do what is due in the background, then what waited for it."""
        self._shelf.tend()
        for key in [key for key in self._waiting if not self._shelf.copying(key)]:
            for ask in self._waiting.pop(key):
                yield self._answer(ask)

    @property
    def idle(self) -> bool:
        """Whether nothing is due."""
        return self._shelf.idle and not self._waiting

    def _answer(self, ask: m.Ask) -> bytes:
        try:
            value = self._shelf.answer(ask.question)
        except EnginehouseError as error:
            return m.frame(m.Answer(ask.number, m.Problem.of(error)))
        return m.frame(m.Answer(ask.number, None, msgspec.Raw(msgspec.msgpack.encode(value))))


def serve(worker: Worker) -> None:
    """Until nobody asks any more."""
    buffer = bytearray()
    while True:
        ready, _, _ = select.select([0], [], [], None if worker.idle else _TICK)
        if ready:
            chunk = os.read(0, _CHUNK)
            if not chunk:
                return
            buffer += chunk
            for body in m.split(buffer):
                _write(worker.take(m.decode_ask(body)))
        _write(worker.tend())


def _write(frames: Iterator[bytes]) -> None:
    for data in frames:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(1, rest) :]


def main(folder: Path, tuning: Tuning, patience: float) -> None:
    """Own the folder and serve; a panic of the index ends the process, and the next one opens it afresh."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock", timeout=patience)
        with lock:
            shelf = Shelf(folder, tuning)
            serve(Worker(shelf))
            shelf.close()
    except Timeout:
        sys.exit(LOCKED)
    except BaseException as error:
        if is_panic(error):
            os._exit(_PANICKED)
        raise


if __name__ == "__main__":
    die_with(int(sys.argv[4]))
    main(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Tuning), float(sys.argv[3]))
