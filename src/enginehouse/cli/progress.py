"""How the command line shows that files arrive: bars on a terminal, plain lines elsewhere, JSON for programs."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from enginehouse.stores.artifacts import Progress

__all__ = ["Bars", "JsonLines", "PlainLines", "shown"]

Write: TypeAlias = Callable[[str], object]
"""Takes one line without its end."""

_UNKNOWN_STEP = 64 << 20


@contextmanager
def shown(console: Console) -> Generator[Progress]:
    """Bars while the context lasts when `console` is a terminal, lines when it is not."""
    if console.is_terminal:
        with Bars(console) as bars:
            yield bars
    else:
        yield PlainLines(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


class Bars:
    """A bar for each file with bytes, speed and time left; a context."""

    def __init__(self, console: Console) -> None:
        self._rich = RichProgress(
            # On a narrow terminal the name gives way and the numbers stay whole.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=16),
            DownloadColumn(table_column=Column(no_wrap=True)),
            TransferSpeedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def started(self, name: str, total: int | None, already: int) -> None:
        """A bar appears, or begins again."""
        if name in self._tasks:
            self._rich.reset(self._tasks[name], total=total, completed=already)
        else:
            self._tasks[name] = self._rich.add_task(name, total=total, completed=already)

    def advanced(self, name: str, count: int) -> None:
        """The bar grows."""
        self._rich.advance(self._tasks[name], count)

    def waiting(self, name: str, reason: str) -> None:
        """A line above the bars."""
        self._rich.console.print(f"{name}: {reason}", markup=False, highlight=False)

    def finished(self, name: str) -> None:
        """The bar is full."""
        if (task := self._tasks.get(name)) is not None:
            done = next(t.completed for t in self._rich.tasks if t.id == task)
            self._rich.update(task, total=done)


class PlainLines:
    """A line at the beginning, at every tenth and at the end."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._tallies: dict[str, _Tally] = {}

    def started(self, name: str, total: int | None, already: int) -> None:
        """Says how much it is, and how much of it is here."""
        self._tallies[name] = _Tally(total, already, 10)
        size = decimal(total) if total is not None else "unknown size"
        self._write(f"{name}: {size}" + (f", going on after {decimal(already)}" if already else ""))

    def advanced(self, name: str, count: int) -> None:
        """Says the share, a tenth at a time."""
        tally = self._tallies[name]
        if tally.passed(count):
            share = f"{100 * tally.done // tally.total} % of {decimal(tally.total)}" if tally.total else ""
            self._write(f"{name}: {share or decimal(tally.done)}")

    def waiting(self, name: str, reason: str) -> None:
        """Says why nothing comes."""
        self._write(f"{name}: {reason}")

    def finished(self, name: str) -> None:
        """Says so."""
        self._write(f"{name}: complete")


class JsonLines:
    """One JSON object a line, with `event` and `name`; about a hundred a file say how many bytes are here."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._tallies: dict[str, _Tally] = {}

    def started(self, name: str, total: int | None, already: int) -> None:
        """Has `total` (null when unknown) and `already`."""
        self._tallies[name] = _Tally(total, already, 100)
        self.told("started", name, total=total, already=already)

    def advanced(self, name: str, count: int) -> None:
        """Has `done`."""
        tally = self._tallies[name]
        if tally.passed(count):
            self.told("advanced", name, done=tally.done)

    def waiting(self, name: str, reason: str) -> None:
        """Has `reason`."""
        self.told("waiting", name, reason=reason)

    def finished(self, name: str) -> None:
        """The file is complete and checked."""
        self.told("finished", name)

    def told(self, event: str, name: str, **more: Any) -> None:
        """Write any event in the same form."""
        self._write(json.dumps({"event": event, "name": name, **more}))


class _Tally:
    """Bytes of one file, and when the next of `shares` equal steps is passed."""

    def __init__(self, total: int | None, done: int, shares: int) -> None:
        self.total = total
        self.done = done
        self._step = max(total // shares, 1) if total else _UNKNOWN_STEP

    def passed(self, count: int) -> bool:
        before, self.done = self.done, self.done + count
        return self.done // self._step > before // self._step
