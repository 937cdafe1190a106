"""A chat without a terminal: lines in, questions asked and commands obeyed, what is to be seen to a screen."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from enginehouse.cli.chat.answer import Answer, Chunk, Piece
from enginehouse.cli.chat.commands import help_lines, read_line
from enginehouse.cli.chat.conversation import Conversation
from enginehouse.errors import InvalidRequest

__all__ = ["Chat", "Connection", "Leave", "Screen", "pick_model"]


class Connection(Protocol):
    """How a service is reached; `Link` is one."""

    def models(self) -> Sequence[Mapping[str, Any]]:
        """What it has."""
        ...

    def stream(self, body: Mapping[str, Any], take: Callable[[Chunk], object]) -> None:
        """Ask, and take the answer's chunks."""
        ...


class Screen(Protocol):
    """Where answers are shown."""

    def answering(self, model: str) -> AbstractContextManager[Callable[[Piece], None]]:
        """Show pieces as they come, for as long as the context is open."""
        ...

    def ended(self, model: str, answer: Answer) -> None:
        """An answer is over, complete or not."""
        ...

    def note(self, text: str) -> None:
        """Say something that is no answer."""
        ...


class Leave(Exception):
    """The user wants to go."""


class Chat:
    """Obeys lines.

    Args:
        connection: who answers.
        conversation: what has been said.
        screen: where it is shown.
        prepare: called before a model is asked for the first time.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        connection: Connection,
        conversation: Conversation,
        screen: Screen,
        *,
        prepare: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.conversation = conversation
        self._connection = connection
        self._screen = screen
        self._prepare = prepare
        self._clock = clock
        self._commands: Mapping[str, Callable[[str], None]] = {
            "help": self._help,
            "models": self._models,
            "model": self._model,
            "system": self._system,
            "retry": self._retry,
            "clear": self._clear,
            "exit": self._exit,
        }

    def obey(self, line: str) -> None:
        """Ask what the line asks, or do what it commands.

        Raises:
            Leave: it says so.
            EnginehouseError: it failed; the chat goes on.
            KeyboardInterrupt: it was stopped; what had come of the answer is kept.
        """
        meant = read_line(line)
        if not isinstance(meant, str):
            self._commands[meant.name](meant.argument)
        elif meant:
            self.ask(meant)

    def ask(self, question: str) -> None:
        """Ask and show the answer as it comes; raises as `obey` does."""
        self.conversation.ask(question)
        model, answer = self.conversation.model, Answer(self._clock())
        try:
            with self._screen.answering(model) as show:
                body = self.conversation.request()
                self._connection.stream(body, lambda chunk: show(answer.add(chunk, self._clock())))
        finally:
            self.conversation.keep(answer)
            self._screen.ended(model, answer)

    def model_names(self) -> list[str]:
        """Ids of the models that may be asked."""
        return [str(model["id"]) for model in self._connection.models() if _chats(model)]

    def _help(self, _: str) -> None:
        self._screen.note("\n".join(help_lines()))

    def _models(self, _: str) -> None:
        current = self.conversation.model
        names = self.model_names()
        self._screen.note("\n".join(f"{'*' if name == current else ' '} {name}" for name in names))

    def _model(self, name: str) -> None:
        if name:
            self._prepare(name)
            self.conversation.model = name
        self._screen.note(f"Asking {self.conversation.model}.")

    def _system(self, text: str) -> None:
        self.conversation.system = text
        self._screen.note("The system text is set." if text else "There is no system text.")

    def _retry(self, _: str) -> None:
        question = self.conversation.again()
        if question is None:
            raise InvalidRequest("There is nothing to ask again yet.")
        self.ask(question)

    def _clear(self, _: str) -> None:
        self.conversation.clear()
        self._screen.note("The conversation is forgotten.")

    def _exit(self, _: str) -> None:
        raise Leave


def pick_model(models: Sequence[Mapping[str, Any]], preferred: str | None) -> str | None:
    """The preferred model if it is there, by id or alias, else the first that chats; None when none does."""
    chatting = [model for model in models if _chats(model)]
    names = {name for model in chatting for name in (model["id"], *(model.get("aliases") or ()))}
    if preferred in names:
        return preferred
    return str(chatting[0]["id"]) if chatting else None


def _chats(model: Mapping[str, Any]) -> bool:
    """Services that are not ours do not say what a model is for."""
    return model.get("type", "chat") == "chat"
