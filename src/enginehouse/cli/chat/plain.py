"""The chat without a terminal: one question a line, and nothing but the answers on standard output."""

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TextIO

from enginehouse.cli.chat.answer import Answer, Piece
from enginehouse.cli.chat.chat import Chat, Leave
from enginehouse.errors import EnginehouseError

__all__ = ["JsonLines", "Plain", "answer_lines", "record"]


class Plain:
    """Satisfies `Screen`: the text of answers as it comes."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    @contextmanager
    def answering(self, model: str) -> Generator[Callable[[Piece], None]]:
        """Write text at once; reasoning is no answer."""
        del model
        yield self._write

    def ended(self, model: str, answer: Answer) -> None:
        """End the line."""
        del model
        if answer.began:
            print(file=self._out, flush=True)

    def note(self, text: str) -> None:
        """To standard error."""
        print(text, file=self._err, flush=True)

    def _write(self, piece: Piece) -> None:
        self._out.write(piece.text)
        self._out.flush()


class JsonLines(Plain):
    """One JSON object an answer, when it is over."""

    def ended(self, model: str, answer: Answer) -> None:
        """Write it, unless it never began: then there is an error instead."""
        if answer.began or answer.finish_reason:
            print(json.dumps(record(model, answer), ensure_ascii=False), file=self._out, flush=True)

    def _write(self, piece: Piece) -> None:
        """Nothing yet."""


def answer_lines(chat: Chat, lines: Iterable[str], screen: Plain) -> int:
    """Obey every line; returns how many failed. Ctrl-C ends it all."""
    failures = 0
    for line in lines:
        try:
            chat.obey(line.rstrip("\r\n"))
        except Leave:
            break
        except EnginehouseError as error:
            failures += 1
            screen.note(error.message)
    return failures


def record(model: str, answer: Answer) -> dict[str, Any]:
    """An answer for programs; times in seconds, null where nothing is known."""
    figures = answer.figures()
    return {
        "model": model,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.tokens if figures.counted else None,
        "ttft": figures.ttft,
        "seconds": figures.seconds,
        "tokens_per_second": figures.rate,
    }
