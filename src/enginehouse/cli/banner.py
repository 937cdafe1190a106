"""What a person sees when the service is up: where it is and a first thing to try."""

import json
import shlex
from collections.abc import Iterable

from rich.console import Console

from enginehouse import __version__
from enginehouse.types import Kind, Model

__all__ = ["banner", "show_banner"]


def show_banner(console: Console, url: str, models: Iterable[Model], *, wants_key: bool) -> None:
    """Print the banner on a terminal, and nothing elsewhere: there the log says it."""
    if console.is_terminal:
        for line in banner(url, models, wants_key=wants_key):
            console.print(line, soft_wrap=True)


def banner(url: str, models: Iterable[Model], *, wants_key: bool) -> list[str]:
    """Its lines; the last one is a command that works as it stands when there is a chat model."""
    known = tuple(models)
    chat = next((model.id for model in known if model.kind is Kind.CHAT), None)
    lines = [
        "",
        f"  Enginehouse {__version__} at {url}, {len(known)} model{'s' if len(known) != 1 else ''}",
        f"  Documentation  {url}/docs",
    ]
    if chat is not None:
        lines += ["  Chat           enginehouse chat", "", "  Or try:", _curl(url, chat, wants_key=wants_key)]
    return [*lines, ""]


def _curl(url: str, model: str, *, wants_key: bool) -> str:
    key = ' -H "Authorization: Bearer $API_KEY"' if wants_key else ""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    header = "'Content-Type: application/json'"
    return f"  curl {url}/v1/chat/completions{key} -H {header} -d {shlex.quote(body)}"
