"""What may be typed in a chat beside questions: commands that begin with a slash."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from msgspec import Struct

from enginehouse.errors import InvalidRequest

__all__ = ["COMMANDS", "Command", "completions", "help_lines", "read_line"]

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "help": ("", "show this"),
        "models": ("", "list the models"),
        "model": ("NAME", "ask another model from now on; without a name, say who is asked"),
        "system": ("TEXT", "tell the model how to behave; without a text, tell it nothing"),
        "retry": ("", "ask the last question again"),
        "clear": ("", "forget the conversation"),
        "exit": ("", "leave; Ctrl-D does the same"),
    }
)
"""Name → its argument and what it does."""


class Command(Struct, frozen=True):
    """A command and what was written behind it."""

    name: str
    argument: str = ""


def read_line(line: str) -> Command | str:
    """What a line means: a command, or a question (also one that begins with a slash behind a space).

    Raises:
        InvalidRequest: it begins with a slash, but there is no such command; the message names near ones.
    """
    if not line.startswith("/"):
        return line.strip()
    name, _, argument = line[1:].strip().partition(" ")
    if name in COMMANDS:
        return Command(name, argument.strip())
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean /{near[0]}?" if near else "/help lists them."
    raise InvalidRequest(f"There is no command /{name}. {hint} To ask it, begin the line with a space.")


def help_lines() -> list[str]:
    """All commands, one a line."""
    usages = {f"/{name} {argument}".rstrip(): meaning for name, (argument, meaning) in COMMANDS.items()}
    width = max(map(len, usages))
    return [f"{usage:<{width}}  {meaning}" for usage, meaning in usages.items()]


def completions(line: str, models: Iterable[str]) -> list[str]:
    """How the last word of a line may go on: names of commands, and of models behind `/model`."""
    command, space, word = line.partition(" ")
    if space:
        return [name for name in models if name.startswith(word)] if command == "/model" else []
    return [f"/{name}" for name in COMMANDS if command and f"/{name}".startswith(command)]
