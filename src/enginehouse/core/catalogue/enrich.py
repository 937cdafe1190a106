"""Settings models with what their files say, for those whose files are already here."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import structlog
from msgspec import structs

from enginehouse.core.catalogue.build import declared, from_settings
from enginehouse.engines.metadata import Cards, Facts, ModelCard, capabilities_of, takes_tools
from enginehouse.errors import ModelLoadFailed, SourceError
from enginehouse.settings.schema import ModelSettings, Settings
from enginehouse.types import Model, Source

__all__ = ["Locate", "enrich", "read_cards"]

log = structlog.get_logger()

Locate: TypeAlias = Callable[[Source, Source | None], Path | None]
"""Source and expected digests to where the files are on this machine: a file, a folder, or None while they are
elsewhere. May block, and may raise SourceError."""


async def enrich(
    settings: Settings,
    cards: Cards,
    locate: Locate,
    *,
    started: int = 0,
    facts: Mapping[tuple[str, str], Facts] | None = None,
) -> tuple[Model, ...]:
    """As `from_settings`, with kind, engine, context length and the like read from files that are here.

    A file that cannot be read is told in the log and leaves its model as the settings have it; loading it
    will fail with the same words.

    Raises:
        SettingsError: an entry says too little; the message names its key.
    """
    known = await asyncio.to_thread(read_cards, declared(settings), cards, locate)
    return from_settings(settings, known, started=started, facts=facts)


def read_cards(entries: Mapping[str, ModelSettings], cards: Cards, locate: Locate) -> dict[str, ModelCard]:
    """Cards by id."""
    known: dict[str, ModelCard] = {}
    for id_, stated in entries.items():
        try:
            path = locate(stated.source, stated.sha256) if stated.source is not None else None
            if path is not None:
                known[id_] = with_template(cards.read(path), stated.flags)
        except (ModelLoadFailed, SourceError) as error:
            log.warning("model_files_not_understood", model=id_, reason=error.message)
    return known


def with_template(card: ModelCard, flags: Sequence[str]) -> ModelCard:
    """The card of a model whose flags may give it another chat template than its file does."""
    given = dict(pairwise(flags))
    template = given.get("--chat-template")
    if (file := given.get("--chat-template-file")) is not None:
        template = read_template(Path(file))
    if template is None:
        return card
    words = capabilities_of(card.kind, chat_template=True, tools=takes_tools(template))
    return structs.replace(card, chat_template=True, capabilities=words)


def read_template(file: Path) -> str | None:
    """A template's text; None when it cannot be read, of which the engine will say more."""
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
