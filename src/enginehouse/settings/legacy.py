"""Translates the configurations of the services before this one into the schema: pure functions, dict to dict.

* **M3** (RouterModelCustom): `config.json` with the sections `api system models redis rate_limit`. Besides the keys
  of its reference, those of its own example file and of its first form (`params` in place of `flags`) are read.
* **M4** (Model Execution Service): `config/models.json`, `{"models": {id: {…}}, "defaults": {…}}`. Its models are
  Ollama's. Its document describes the file in words only; the keys here are those of the service's published file.
  A model with `enabled: false` is left out; one that does not say is kept.
* **M2** (Model Cache Service): the keys of `CACHE_CONFIG`, under that name or `cache_config`, or in `residency`.

The tables name every key that is read. A key with no target has no counterpart here and is accepted without
effect. A key of this schema that stands in the same file wins over a translated one.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from enginehouse.settings.keys import KeyPath, dotted, node_at
from enginehouse.settings.mistakes import Mistake, found, unknown
from enginehouse.settings.tree import Tree, get, is_tree, put, table

__all__ = ["M2", "M3", "M4_DEFAULTS", "MODEL", "Translation", "accepted", "is_m3", "is_m4", "translated"]

Moves: TypeAlias = Mapping[str, tuple[str, ...]]
"""Dotted key of the other service → dotted keys of ours."""

M3: Moves = MappingProxyType(
    {
        "api.host": ("server.host",),
        "api.port": ("server.port",),
        "api.cors_origins": ("server.cors_origins",),
        "api.rate_limit.requests_per_minute": ("limits.requests",),
        "api.rate_limit.redis_url": ("stores.redis_url",),
        "api.rate_limit_set_into_turn_off": (),
        "system.llama_server_path": ("engines.llama_server.path",),
        "system.base_models_path": ("sources.base_dir",),
        "system.max_concurrent_models": ("residency.max_models",),
        "system.preload_models": ("residency.preload",),
        "system.enable_idle_timeout": ("residency.enable_idle_timeout",),
        "system.idle_timeout_sec": ("residency.idle_timeout",),
        "system.request_timeout_sec": ("admission.request_timeout",),
        "system.gpu_devices": ("engines.llama_server.gpu_devices",),
        "system.default_parallel": ("admission.default_slots",),
        "system.parallel_requests": ("admission.default_slots",),
        "system.max_queue_size_per_model": ("admission.max_queue_size",),
        "system.vram_multiplier": ("residency.vram_multiplier",),
        "system.queue_timeout_sec": ("admission.queue_timeout",),
        "system.wait_ready_sec": ("residency.load_timeout",),
        "system.timeout_warmup_sec": (),
        "system.preload_delay_sec": (),
        "system.keep_warm_models": (),
        "system.min_vram_required": (),
        "system.http_max_keepalive": (),
        "system.http_max_connections": (),
        "system.queue_processor_idle_sec": (),
        "system.model_load_max_retries": (),
        "system.cpu_threads": (),
        "system.use_mmap": (),
        "system.flash_attention": (),
        "redis.url": ("stores.redis_url",),
        "redis.enable_cache": ("cache.enabled",),
        "redis.cache_ttl_sec": ("cache.exact_ttl", "cache.semantic_ttl"),
        "redis.enable_queue": ("stores.enable_queue",),
        "redis.enable_redis_queue": ("stores.enable_queue",),
        "redis.queue_ttl_sec": (),
        "redis.cache_prefix": (),
        "redis.queue_prefix": (),
        "rate_limit.requests_per_minute": ("limits.requests",),
        "rate_limit.redis_url": ("stores.redis_url",),
    }
)
M2: Moves = MappingProxyType(
    {
        "max_memory_usage": ("residency.max_memory_usage",),
        "cache_ttl": ("residency.idle_timeout",),
        "preload_models": ("residency.preload",),
        "warmup_requests": ("residency.warmup_requests",),
        "enable_auto_scaling": ("residency.enable_auto_scaling",),
        "memory_threshold": ("residency.memory_threshold",),
        "cleanup_interval": ("residency.cleanup_interval",),
        "max_models": ("residency.max_models",),
    }
)
MODEL: Moves = MappingProxyType(
    {
        "model_path": ("source",),
        "params": ("flags",),
        "display_name": ("name",),
        "enabled": (),
        "max_concurrent": ("slots",),
        "timeout": ("request_timeout",),
        "size_gb": (),
        "min_memory_gb": (),
        "context_window": ("context_length",),
        "supports_json_mode": ("capabilities",),
        "default_temperature": ("defaults.temperature",),
    }
)
"""Keys of one model: M3's, then M4's."""
M4_DEFAULTS: Moves = MappingProxyType(
    {
        "defaults.temperature": ("defaults.temperature",),
        "defaults.top_p": ("defaults.top_p",),
        "defaults.max_tokens": ("defaults.max_tokens",),
        "defaults.timeout": ("request_timeout",),
    }
)
"""M4's defaults of the whole file → keys of each of its models."""
PARAMS = MappingProxyType(
    {
        "n_gpu_layers": "--n-gpu-layers",
        "n_ctx": "--ctx-size",
        "n_batch": "--batch-size",
        "batch_override": "--batch-size",
        "rope_freq_base": "--rope-freq-base",
        "chat_template": "--chat-template",
        "parallel_override": "--parallel",
        "type_k": "--cache-type-k",
        "type_v": "--cache-type-v",
        "embedding": "--embedding",
    }
)
"""The first form of M3's models → flags of llama-server; of two for one flag the later counts."""
M3_DEFAULTS = MappingProxyType(
    {
        "residency.max_models": 3,
        "admission.request_timeout": 120,
        "engines.llama_server.gpu_devices": [0],
    }
)
"""What M3 does when its `system` section leaves a key out, where that is not our own default."""

_SECTIONS: Mapping[str, Moves] = MappingProxyType(
    # `redis` first: its address is the one that counts when `rate_limit` has another.
    dict.fromkeys(("redis", "api", "system", "rate_limit"), M3)
    | {name: {f"{name}.{key}": to for key, to in M2.items()} for name in ("CACHE_CONFIG", "cache_config")}
)
_M4_ONLY = frozenset(MODEL) - {"model_path", "params", "timeout"}
"""Keys that tell a model of M4 from one of ours."""


class Translation(NamedTuple):
    """Settings in the words of our schema."""

    data: Tree
    written: dict[KeyPath, KeyPath]
    """Our path → the path under which the file has it."""
    mistakes: list[Mistake]

    def place(self, source: KeyPath, targets: Iterable[str], value: object, under: KeyPath = ()) -> None:
        """Put a value where we have it; what stands there already stays, and null means left out."""
        for target in targets if value is not None else ():
            path = (*under, *target.split("."))
            if put(self.data, path, value):
                self.written[path] = source


def is_m3(data: Mapping[str, Any]) -> bool:
    """Whether this is a configuration of M3: it has one of the sections that every one of them has."""
    return "system" in data or "api" in data


def is_m4(data: Mapping[str, Any]) -> bool:
    """Whether this is a configuration of M4: models with its keys, or defaults for them, and no section of ours."""
    models = table(data, "models")
    if models is None or not ("defaults" in data or any(map(_is_of_m4, models.values()))):
        return False
    return all(name == "models" or node_at((name,)) is None for name in data)


def _is_of_m4(entry: object) -> bool:
    return is_tree(entry) and not _M4_ONLY.isdisjoint(entry)


def accepted(parent: KeyPath) -> Iterable[str]:
    """Names that may be written in a section besides those of the schema."""
    match parent:
        case ():
            return _SECTIONS
        case ("residency",):
            return M2
        case ("models", _):
            return MODEL
        case _:
            return ()


def translated(data: Mapping[str, Any]) -> Translation:
    """Read the configuration of any of the services, our own, or a mixture."""
    result = Translation(_without_notes(data), {}, [])
    whole_m4 = is_m4(result.data)
    for section, moves in _SECTIONS.items():
        if section in result.data:
            _move(result, (section,), result.data.pop(section), moves)
    _move_residency(result)
    _move_models(result, m3=is_m3(data), m4=whole_m4)
    if "system" in data:
        for target, value in M3_DEFAULTS.items():
            put(result.data, tuple(target.split(".")), value)
    if is_m3(data) or whole_m4:  # those services had no models but the written ones
        put(result.data, ("default_models",), False)
        put(result.data, ("ollama", "discover"), False)
    return result


def _without_notes(data: Mapping[str, Any]) -> Tree:
    """JSON has no comments; M3 writes them as `_comment: text`."""
    return {
        name: _without_notes(value) if is_tree(value) else value
        for name, value in data.items()
        if is_tree(value) or not name.startswith("_")
    }


def _move(result: Translation, path: KeyPath, value: object, moves: Moves) -> None:
    below = _names_under(path, moves)
    if dotted(path) in moves:
        result.place(path, moves[dotted(path)], value)
    elif below and is_tree(value):
        for name, inner in value.items():
            _move(result, (*path, name), inner, moves)
    elif below and value is not None:
        result.mistakes.append(Mistake(path, f"{found(value)}, wanted a mapping."))
    elif not below:
        result.mistakes.append(Mistake(path, unknown(path, value, _names_under(path[:-1], moves))))


def _names_under(path: KeyPath, moves: Moves) -> list[str]:
    prefix = f"{dotted(path)}."
    return [key.removeprefix(prefix).partition(".")[0] for key in moves if key.startswith(prefix)]


def _move_residency(result: Translation) -> None:
    """M2's names inside our own section: two of the eight are not ours already."""
    section = table(result.data, "residency") or {}
    for name in ("cache_ttl", "preload_models"):
        if name in section:
            result.place(("residency", name), M2[name], section.pop(name))


def _move_models(result: Translation, *, m3: bool, m4: bool) -> None:
    defaults = result.data.pop("defaults", None) if m4 else None
    models = table(result.data, "models") or {}
    for name, entry in list(models.items()):
        path = ("models", name)
        if get(entry, "enabled") is False:
            del models[name]
        elif is_tree(entry):
            _move_model(result, path, entry, ollama=m4 or _is_of_m4(entry), m3=m3)
            _lay_under(result, path, defaults)


def _move_model(result: Translation, path: KeyPath, entry: Tree, *, ollama: bool, m3: bool) -> None:
    for key in [key for key in entry if key in MODEL]:
        value = _value(result, (*path, key), entry.pop(key))
        result.place((*path, key), MODEL[key], value, under=path)
    if {"source", "engine", "base_url"}.isdisjoint(entry):
        if ollama:
            entry["engine"] = "ollama"
        elif m3:
            result.mistakes.append(Mistake((*path, "model_path"), "is missing, wanted a path."))


def _value(result: Translation, path: KeyPath, value: Any) -> Any:
    """A value in our form, or None when it says nothing."""
    match path[-1], value:
        case _, None:
            return None
        case "params", _ if is_tree(value):
            return _flags(result, path, value)
        case "enabled", bool():
            return None
        case "supports_json_mode", bool():
            return ["json_mode"] if value else None
        case "params" | "supports_json_mode" | "enabled" as key, _:
            kind = "a mapping" if key == "params" else "true or false"
            result.mistakes.append(Mistake(path, f"{found(value)}, wanted {kind}."))
            return None
        case _:
            return value


def _flags(result: Translation, path: KeyPath, params: Mapping[str, Any]) -> list[str]:
    """Write the first form of a model's parameters as flags."""
    for key in params.keys() - PARAMS.keys():
        result.mistakes.append(Mistake((*path, key), unknown((*path, key), params[key], PARAMS)))
    said = {flag: params[key] for key, flag in PARAMS.items() if _says_something(params.get(key))}
    return [text for flag, value in said.items() for text in ([flag] if value is True else [flag, str(value)])]


def _says_something(value: object) -> bool:
    return value is not None and value is not False and value != ""


def _lay_under(result: Translation, path: KeyPath, defaults: object) -> None:
    """Give one model M4's defaults of the whole file."""
    if not is_tree(defaults):
        if defaults is not None:
            result.mistakes.append(Mistake(("defaults",), f"{found(defaults)}, wanted a mapping."))
        return
    for key, value in defaults.items():
        source = ("defaults", key)
        if dotted(source) in M4_DEFAULTS:
            result.place(source, M4_DEFAULTS[dotted(source)], value, under=path)
        else:
            result.mistakes.append(
                Mistake(source, unknown(source, value, _names_under(("defaults",), M4_DEFAULTS)))
            )
