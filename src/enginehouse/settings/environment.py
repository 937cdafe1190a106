"""Reads the environment: the only place where it is asked, and the only list of names it may use.

`ENGINEHOUSE_` with `__` between the parts of a key sets any key (`ENGINEHOUSE_SERVER__PORT=9000`); besides, the
variables of the services before this one keep their names. An empty variable is one that is not set. Variables
that Kubernetes makes for services (`ENGINEHOUSE_PORT=tcp://10.0.0.1:8000`) are no settings and are left alone.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from enginehouse.settings.keys import KeyPath, Node, nearest, node_at
from enginehouse.settings.mistakes import Mistake
from enginehouse.settings.tree import Tree, merged

__all__ = ["CONFIG_PATH", "NAMES", "PREFIX", "Layer", "current_environ", "read", "variable"]

PREFIX = "ENGINEHOUSE_"
CONFIG_PATH = "CONFIG_PATH"
"""Names the settings file itself."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "HOST": "server.host",
        "PORT": "server.port",
        "DEBUG": "server.debug",
        "API_KEY": "auth.api_keys",
        "MES_API_KEY": "auth.api_keys",
        "JWT_SECRET": "auth.jwt_secret",
        "JWT_ALGORITHM": "auth.jwt_algorithm",
        "LOG_LEVEL": "log.level",
        "LOG_FORMAT": "log.format",
        "BASE_MODELS_PATH": "sources.base_dir",
        "PIP_INDEX_URL": "sources.pypi_index",
        "HF_ENDPOINT": "sources.hf_endpoint",
        "HF_TOKEN": "sources.hf_token",
        "LLAMA_SERVER_PATH": "engines.llama_server.path",
        "MAX_LOADED_MODELS": "residency.max_models",
        "DEFAULT_TIMEOUT": "admission.request_timeout",
        "RATE_LIMIT_REQUESTS": "limits.requests",
        "RATE_LIMIT_WINDOW": "limits.window",
        "MAX_REQUESTS_PER_HOUR": "limits.requests_per_hour",
        "MAX_QUEUE_SIZE": "limits.chat_queue_size",
        "L1_CACHE_TTL": "cache.exact_ttl",
        "L2_CACHE_TTL": "cache.semantic_ttl",
        "DATABASE_URL": "stores.database_url",
        "REDIS_URL": "stores.redis_url",
        "QDRANT_URL": "qdrant.url",
        "QDRANT_HOST": "qdrant.host",
        "QDRANT_PORT": "qdrant.port",
        "QDRANT_API_KEY": "qdrant.api_key",
        "OPENAI_API_KEY": "openai.api_key",
        "OPENAI_ORGANIZATION": "openai.organization",
        "ANTHROPIC_API_KEY": "anthropic.api_key",
        "MODEL_SERVER_URL": "ollama.base_url",
        "OLLAMA_HOST": "ollama.base_url",
        "MODEL_NAME": "default_chat_model",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "telemetry.otlp_endpoint",
        "OTEL_EXPORTER_OTLP_HEADERS": "telemetry.otlp_headers",
        "OTEL_SERVICE_NAME": "telemetry.service_name",
    }
)
"""Variables with names of their own → key. Of two for one key the first that is set counts."""

_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?$")


class Layer(NamedTuple):
    """What the environment sets."""

    data: Tree
    variables: dict[KeyPath, str]
    """Path → the variable that set it."""
    mistakes: list[Mistake]


class _Setting(NamedTuple):
    """One variable that sets a key."""

    variable: str
    path: KeyPath
    value: Any


def current_environ() -> Mapping[str, str]:
    """The environment of this process, as it is now."""
    return dict(os.environ)


def keep_ray_quiet() -> None:
    """Ray sends reports of its use to its makers unless it is told not to; whatever we start tells nobody."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def variable(key: str) -> str:
    """The name of the variable that sets a dotted key."""
    return PREFIX + key.replace(".", "__").upper()


def read(environ: Mapping[str, str], model_ids: Iterable[str] = ()) -> Layer:
    """Read every variable that is a setting; `model_ids` are the ids that the file has.

    A name holds letters, digits and `_` only: `ENGINEHOUSE_MODELS__LLAMA3_1_8B__SLOTS` means the model
    `llama3.1:8b` if the file has it.
    """
    layer = Layer({}, {}, [])
    ids = {_bare(name): name for name in model_ids}
    for read_setting in (*_own(environ, ids), *_named(environ)):
        if isinstance(read_setting, Mistake):
            layer.mistakes.append(read_setting)
        else:
            _put(layer, read_setting)
    return layer


def _put(layer: Layer, setting: _Setting) -> None:
    """Add a setting; the one that came before it wins."""
    tree: Any = setting.value
    for name in reversed(setting.path):
        tree = {name: tree}
    joined = merged(tree, layer.data)
    layer.data.clear()
    layer.data.update(joined)
    layer.variables.setdefault(setting.path, setting.variable)


def _own(environ: Mapping[str, str], ids: Mapping[str, str]) -> Iterator[_Setting | Mistake]:
    """Variables with the prefix; one that names a single key comes before one that holds a whole section."""
    for name in sorted(environ, key=lambda name: (-name.count("__"), name)):
        if name.startswith(PREFIX) and _is_set(name, environ[name]):
            path = _path(name, ids)
            node = node_at(path)
            yield _unknown(name, path) if node is None else _setting(name, path, node, environ[name])


def _named(environ: Mapping[str, str]) -> Iterator[_Setting]:
    for name, key in NAMES.items():
        value = environ.get(name, "")
        if _is_set(name, value):
            text = _ollama_address(value) if name == "OLLAMA_HOST" else value
            is_list = (node_at(key.split(".")) or {}).get("type") == "array"
            yield _Setting(name, tuple(key.split(".")), [text] if is_list else text)


def _is_set(name: str, value: str) -> bool:
    """An empty variable says nothing, and one that Kubernetes made for a service nothing about us."""
    link = _SERVICE_LINK.search(name) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://")))
    return bool(value.strip()) and not link


def _path(name: str, ids: Mapping[str, str]) -> KeyPath:
    path = tuple(name.removeprefix(PREFIX).lower().split("__"))
    if path[0] == "models" and len(path) > 1:
        return (path[0], ids.get(_bare(path[1]), path[1]), *path[2:])
    return path


def _bare(model_id: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", model_id.lower())


def _unknown(name: str, path: KeyPath) -> Mistake:
    near = nearest(path)
    hint = f" Did you mean {variable(near)}?" if near else ""
    return Mistake((), f"{name}: there is no such setting.{hint}", f"environment {name}")


def _setting(name: str, path: KeyPath, node: Node, text: str) -> _Setting | Mistake:
    """Read lists as JSON or between commas, mappings as JSON, anything else as it stands."""
    types = {part.get("type") for part in node.get("anyOf", (node,))}
    if text.lstrip()[0] in "[{" and not types.isdisjoint({"array", "object"}):
        try:
            return _Setting(name, path, json.loads(text))
        except json.JSONDecodeError as error:
            return Mistake(
                path, f"is not valid JSON: {error.msg} at character {error.pos + 1}.", f"environment {name}"
            )
    return _Setting(name, path, [part.strip() for part in text.split(",")] if "array" in types else text)


def _ollama_address(value: str) -> str:
    """Ollama's own variable holds what its server listens on: a host or `host:port`, with or without `http://`."""
    scheme, _, rest = value.rpartition("://")
    host = rest.rstrip("/").replace("0.0.0.0", "127.0.0.1", 1)  # noqa: S104 - not bound, asked
    default_port = "" if scheme or re.search(r":\d+$", host) else ":11434"
    return f"{scheme or 'http'}://{host}{default_port}"
