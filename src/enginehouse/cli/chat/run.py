"""`enginehouse chat`: finds a service, or starts one, and talks to it on a terminal, in a pipe, or once."""

import asyncio
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from enginehouse.cli.addresses import address
from enginehouse.cli.chat.chat import Chat, pick_model
from enginehouse.cli.chat.conversation import Conversation
from enginehouse.cli.chat.link import Link
from enginehouse.cli.chat.plain import JsonLines, Plain, answer_lines
from enginehouse.cli.chat.terminal import Terminal, converse, edit_lines
from enginehouse.cli.console import remarks, results
from enginehouse.cli.effective import Effective, effective
from enginehouse.cli.service import Service
from enginehouse.errors import InvalidRequest
from enginehouse.settings.schema import Settings

__all__ = ["ChatOptions", "run_chat"]

CATALOGUE_SECONDS = 3.0
"""How long a service that has just been started may take to look through its models folder."""


class ChatOptions(Struct, frozen=True, kw_only=True):
    """What was said on the command line."""

    model: str | None = None
    url: str | None = None
    key: str | None = None
    config: Path | None = None
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    once: str | None = None
    as_json: bool = False


class Place(NamedTuple):
    """Where the chat goes to."""

    url: str
    key: str | None
    prepare: Callable[[str], object]
    """To be called with a model before it is asked for the first time."""
    patience: float = 0.0
    """Seconds its list of models may stay empty."""


def run_chat(options: ChatOptions) -> int:
    """Chat until the end; returns the exit code: 1 if a question in a pipe was not answered.

    Raises:
        SettingsError: the settings are wrong.
        EnginehouseError: there is nobody to talk to.
    """
    found = effective(options.config)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    with _place(options, found) as place, Link(place.url, place.key) as link:
        model = options.model or _default_model(link, found.settings, place)
        place.prepare(model)
        conversation = Conversation(
            model, system=options.system, temperature=options.temperature, max_tokens=options.max_tokens
        )
        if options.once is None and not options.as_json and sys.stdin.isatty() and sys.stdout.isatty():
            return _on_terminal(link, conversation, place)
        return _plainly(link, conversation, place, options)


def _on_terminal(link: Link, conversation: Conversation, place: Place) -> int:
    terminal = Terminal(results())
    chat = Chat(link, conversation, terminal, prepare=place.prepare)
    edit_lines(chat.model_names)
    terminal.note(f"{conversation.model} at {place.url}. Ctrl-C stops an answer, /help lists the commands.")
    converse(chat, terminal)
    return 0


def _plainly(link: Link, conversation: Conversation, place: Place, options: ChatOptions) -> int:
    screen = (JsonLines if options.as_json else Plain)(sys.stdout, sys.stderr)
    chat = Chat(link, conversation, screen, prepare=place.prepare)
    if options.once is not None:
        chat.ask(options.once)
        return 0
    return 1 if answer_lines(chat, sys.stdin, screen) else 0


def _default_model(link: Link, settings: Settings, place: Place) -> str:
    deadline = time.monotonic() + place.patience
    while (model := pick_model(link.models(), settings.default_chat_model)) is None:
        if time.monotonic() >= deadline:
            raise InvalidRequest(f"The service at {place.url} has no chat model; `enginehouse models` lists them.")
        time.sleep(0.1)
    return model


@contextmanager
def _place(options: ChatOptions, found: Effective) -> Generator[Place]:
    """The service that was named, else the configured one if it runs, else one of our own."""
    if options.url is not None:
        yield Place(options.url, options.key, prepare=_nothing)
        return
    url = address(found.settings.server)
    if url is not None and asyncio.run(_is_ours(url)):
        yield Place(url, options.key or _own_key(found.settings), prepare=_nothing)
        return
    with _own(found) as place:
        yield place


@contextmanager
def _own(found: Effective) -> Generator[Place]:
    from enginehouse.cli.catalogue import artifacts_of, fetch
    from enginehouse.cli.chat.host import hosted
    from enginehouse.telemetry.logs import configure_logs

    url = address(found.settings.server)
    where = f"No service answers at {url}" if url else "No service is known"
    remarks().print(f"{where}; one runs here until the chat ends.", style="dim", soft_wrap=True)
    configure_logs("error", "auto")
    artifacts = artifacts_of(found.settings)
    with hosted(found.settings, found.environ) as host:

        def prepare(name: str) -> None:
            """Bring the files here where they can be seen coming, before the service would do it unseen."""
            fetch(host.house.ground.catalogue.resolve(name), artifacts)

        yield Place(host.url, host.key, prepare, patience=CATALOGUE_SECONDS)


async def _is_ours(url: str) -> bool:
    async with Service(url) as service:
        return await service.is_ours()


def _own_key(settings: Settings) -> str | None:
    """The first key of the settings: it goes to the service that they describe, and nowhere else."""
    return next((key.get_secret_value() for key in settings.auth.api_keys), None)


def _nothing(_: str) -> None:
    """A service elsewhere has its models ready or fetches them itself."""
