"""From settings and model cards to models: what is stated wins over what is read, and that over what is usual."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from pydantic import SecretStr

from enginehouse.core.catalogue.defaults import DEFAULT_MODELS
from enginehouse.core.catalogue.names import split_version
from enginehouse.engines.metadata import Facts, ModelCard
from enginehouse.errors import SettingsError
from enginehouse.settings.schema import DeploymentSettings, ModelSettings, ProviderSettings, Settings
from enginehouse.types import Deployment, EngineName, Instances, Kind, Model, Price

__all__ = ["Common", "build_model", "common_of", "declared", "from_settings"]

REMOTE_SLOTS = 256
"""Requests that may run at once on a server elsewhere, which has limits of its own, when none is stated."""

USUAL_PLACES = {
    EngineName.OPENAI: "https://api.openai.com",
    EngineName.ANTHROPIC: "https://api.anthropic.com",
    EngineName.OLLAMA: "http://127.0.0.1:11434",
}
"""Roots of the providers' own APIs; those that want a key are used only where there is one."""

GATHERED_SLOTS = 64
"""Requests that may run at once on a classifier here: its engine puts texts of all callers into common batches."""

MODEL_FLAGS = ("-m", "--model", "-hf", "-hfr", "--hf-repo", "-mu", "--model-url")
"""Flags with which a `llama-server` finds its model itself."""

USUAL = {
    Kind.CHAT: ("chat",),
    Kind.EMBEDDING: ("embedding",),
    Kind.RERANK: ("rerank",),
    Kind.CLASSIFIER: ("classification",),
}
"""What a model can do at the least."""


class Common(Struct, frozen=True, kw_only=True):
    """What models take from the rest of the settings."""

    slots: int = 1
    providers: Mapping[EngineName, ProviderSettings] = {}
    preload: frozenset[str] = frozenset()
    started: int = 0
    """Unix seconds; the age of a model whose files are not here."""
    facts: Mapping[tuple[str, str], Facts] = {}
    """What servers said of models, by address and name there."""


def from_settings(
    settings: Settings,
    cards: Mapping[str, ModelCard] | None = None,
    *,
    started: int = 0,
    facts: Mapping[tuple[str, str], Facts] | None = None,
) -> tuple[Model, ...]:
    """The models that the settings declare, and the built-in ones unless they are switched off.

    Args:
        settings: the whole configuration; nothing outside it is looked at.
        cards: by id, what is known of files that are already here.
        started: Unix seconds, for models whose files are not.
        facts: by address and name there, what servers said of their models.

    Raises:
        SettingsError: an entry says too little; the message names its key.
    """
    common = common_of(settings, started, facts)
    known = cards or {}
    return tuple(
        build_model(id_, stated, common, card=known.get(id_), origin=origin(id_, settings))
        for id_, stated in declared(settings).items()
    )


def common_of(settings: Settings, started: int = 0, facts: Mapping[tuple[str, str], Facts] | None = None) -> Common:
    """What the settings say of all models."""
    return Common(
        slots=settings.admission.default_slots,
        providers={
            EngineName.OPENAI: settings.openai,
            EngineName.ANTHROPIC: settings.anthropic,
            EngineName.OLLAMA: settings.ollama,
        },
        preload=frozenset(settings.residency.preload),
        started=started,
        facts=facts or {},
    )


def declared(settings: Settings) -> dict[str, ModelSettings]:
    """Entries by id; one's own replaces a built-in one of the same id."""
    return {**(DEFAULT_MODELS if settings.default_models else {}), **settings.models}


def origin(id_: str, settings: Settings) -> str:
    """Who declared a model."""
    return "settings" if id_ in settings.models else "default"


def build_model(
    id_: str, stated: ModelSettings, common: Common, *, card: ModelCard | None = None, origin: str = "settings"
) -> Model:
    """One model of one entry.

    Raises:
        SettingsError: the entry says neither where the model's files are nor what answers.
    """
    engine = engine_of(id_, stated, card)
    known = card or said_of(id_, stated, engine, common)
    kind = kind_of(stated, engine, known)
    slots = stated.slots or usual_slots(engine, kind, common)
    names = {id_, *stated.aliases, "*"}
    return Model(
        id=id_,
        kind=kind,
        deployments=deployments(id_, stated, kind, engine, slots, common),
        name=stated.name or (known.name if known else ""),
        version=split_version(id_)[1],
        aliases=stated.aliases,
        context_length=stated.context_length or own_context(known, engine, slots),
        max_tokens=stated.max_tokens,
        capabilities=stated.capabilities or own_capabilities(known, kind) or USUAL[kind],
        price=Price(input_per_1k=stated.price.input_per_1k, output_per_1k=stated.price.output_per_1k),
        priority=stated.priority,
        ttl=stated.ttl,
        fallbacks=stated.fallbacks,
        pinned=stated.pinned,
        instances=copies(id_, stated, engine),
        preload=stated.preload or not names.isdisjoint(common.preload),
        created=card.modified if card else common.started,
        origin=origin,
    )


def said_of(id_: str, stated: ModelSettings, engine: EngineName, common: Common) -> Facts | None:
    """What the model's own server has said of it, if anything."""
    if engine is not EngineName.OLLAMA:
        return None
    address = remote(stated.base_url, stated.api_key, engine, common).base_url
    return common.facts.get((address or "", stated.upstream_model or id_))


def usual_slots(engine: EngineName, kind: Kind, common: Common) -> int:
    """Requests that run at once when the entry does not say."""
    if not engine.here:
        return REMOTE_SLOTS
    return GATHERED_SLOTS if kind is Kind.CLASSIFIER else common.slots


def copies(id_: str, stated: ModelSettings, engine: EngineName) -> Instances:
    """How many there may be; only what runs here can be had more than once."""
    if stated.instances.max > 1 and not engine.here:
        raise SettingsError(f"models.{id_}.instances: {engine.value} runs elsewhere; raise `slots` instead.")
    return Instances(min=stated.instances.min, max=stated.instances.max)


def deployments(
    id_: str, stated: ModelSettings, kind: Kind, engine: EngineName, slots: int, common: Common
) -> tuple[Deployment, ...]:
    """Where the model runs: where its entry says, and on every further server that the entry names."""
    first = deployment(id_, stated, kind, engine, slots, common)
    more = (
        elsewhere(f"{id_}~{number}", first, server, common) for number, server in enumerate(stated.deployments, 2)
    )
    return (first, *more)


def deployment(
    id_: str, stated: ModelSettings, kind: Kind, engine: EngineName, slots: int, common: Common
) -> Deployment:
    """Where and how the model runs."""
    place = remote(stated.base_url, stated.api_key, engine, common)
    return Deployment(
        id=id_,
        model=id_,
        kind=kind,
        engine=engine,
        source=stated.source,
        sha256=stated.sha256,
        flags=stated.flags,
        context_length=stated.context_length,
        slots=slots,
        base_url=place.base_url,
        api_key=place.api_key,
        headers=place.headers,
        upstream_model=stated.upstream_model,
        weight=stated.weight,
        request_timeout=stated.request_timeout,
        connect_timeout=stated.timeouts.connect,
        first_token_timeout=stated.timeouts.first_token,
        total_timeout=stated.timeouts.total,
        defaults=generation_defaults(stated),
        labels=tuple(sorted(stated.labels.items())),
    )


def elsewhere(id_: str, first: Deployment, stated: DeploymentSettings, common: Common) -> Deployment:
    """One more server of a model, whose name there may differ."""
    engine = stated.engine or (EngineName.OPENAI if first.engine.here else first.engine)
    if engine.here:
        raise SettingsError(f"models.{first.id}.deployments: {engine.value} runs here, a further server does not.")
    place = remote(stated.base_url, stated.api_key, engine, common)
    if place.base_url is None:
        raise SettingsError(f"models.{first.id}.deployments: one of them says no `base_url`.")
    return msgspec.structs.replace(
        first,
        id=id_,
        engine=engine,
        source=None,
        sha256=None,
        flags=(),
        slots=stated.slots or REMOTE_SLOTS,
        base_url=place.base_url,
        api_key=place.api_key,
        headers=place.headers,
        upstream_model=stated.upstream_model or first.upstream_model,
        weight=stated.weight,
    )


def own_capabilities(card: Facts | None, kind: Kind) -> tuple[str, ...]:
    """What it can do, unless it is put to another use than its own."""
    return card.capabilities if card is not None and card.kind is kind else ()


def own_context(card: Facts | None, engine: EngineName, slots: int) -> int | None:
    """Tokens one sequence may hold, as is known of it; llama.cpp parts the model's own context among its slots."""
    if card is None or card.context_length is None:
        return None
    return card.context_length // slots if engine is EngineName.LLAMA_SERVER else card.context_length


def generation_defaults(stated: ModelSettings) -> tuple[tuple[str, str], ...]:
    """The stated generation parameters as names and JSON values."""
    given = stated.defaults.model_dump(exclude_none=True)
    return tuple((name, msgspec.json.encode(value).decode()) for name, value in given.items())


class Place(Struct, frozen=True, kw_only=True):
    """Where a server is, and how it knows us."""

    base_url: str | None = None
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def remote(base_url: str | None, api_key: SecretStr | None, engine: EngineName, common: Common) -> Place:
    """Address and key. An entry with an address of its own never gets the provider's key."""
    key = api_key.get_secret_value() if api_key else None
    provider = common.providers.get(engine)
    if base_url is not None or provider is None:
        return Place(base_url=base_url, api_key=key)
    own = provider.api_key.get_secret_value() if provider.api_key else None
    known = own is not None or engine is EngineName.OLLAMA
    names = (("OpenAI-Organization", provider.organization), ("OpenAI-Project", provider.project))
    return Place(
        base_url=provider.base_url or (USUAL_PLACES.get(engine) if known else None),
        api_key=key or own,
        headers=tuple((name, value) for name, value in names if value) if engine is EngineName.OPENAI else (),
    )


def engine_of(id_: str, stated: ModelSettings, card: ModelCard | None) -> EngineName:
    """What answers: as stated, else as the address, the files or their names suggest."""
    engine = stated.engine or suggested(stated, card)
    if engine is None:
        raise SettingsError(
            f"models.{id_}: says neither `source` (files that run here) nor `engine` or `base_url` (what answers)."
        )
    by_flags = engine is EngineName.LLAMA_SERVER and any(flag in MODEL_FLAGS for flag in stated.flags)
    if engine.here and stated.source is None and not by_flags:
        raise SettingsError(f"models.{id_}.source: the engine {engine} needs one: a path, hf:… or pypi:….")
    return engine


def suggested(stated: ModelSettings, card: ModelCard | None) -> EngineName | None:
    """The engine for these files; a source that names no GGUF file is a folder of an ONNX model."""
    if stated.base_url is not None:
        return EngineName.OPENAI
    if card is not None:
        return card.engine
    if stated.source is None:
        return None
    files = [stated.source] if isinstance(stated.source, str) else list(stated.source)
    gguf = any(".gguf" in file.lower() for file in files)
    return EngineName.LLAMA_SERVER if gguf else EngineName.ONNX


def kind_of(stated: ModelSettings, engine: EngineName, card: Facts | None) -> Kind:
    """What the model is for: as stated, as its files or its server say, else as is usual."""
    if stated.kind is not None:
        return stated.kind
    if card is not None:
        return card.kind
    return Kind.EMBEDDING if engine is EngineName.ONNX else Kind.CHAT
