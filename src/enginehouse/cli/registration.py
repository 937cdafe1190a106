"""`enginehouse models add|edit|remove`: models of a running service, while it runs."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from enginehouse.cli.addresses import address
from enginehouse.cli.console import results
from enginehouse.cli.effective import effective
from enginehouse.cli.service import Service
from enginehouse.errors import InvalidRequest, UpstreamDied

__all__ = ["ask_for", "change", "fields_of", "service_of"]


def fields_of(settings: Iterable[str], unset: Iterable[str] = ()) -> dict[str, Any]:
    """`KEY=VALUE` texts as a JSON object; a dot in a key leads into a section, a key to unset becomes null.

    A value is read as JSON when it is some, and is text otherwise.

    Raises:
        InvalidRequest: a text has no `=`, or a key stands both in and for a section.
    """
    fields: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (equals and key):
            raise InvalidRequest(f"{setting!r} is no setting: write KEY=VALUE, such as ttl=600.")
        _put(fields, key, _value(text))
    for key in unset:
        _put(fields, key, None)
    return fields


def change(
    method: str,
    model: str | None,
    body: Mapping[str, Any] | None,
    *,
    config: Path | None,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Ask the service at `url`, else the configured one, and print how the model is now.

    Raises:
        EnginehouseError: nobody answers, or the service refuses, with its own words.
    """
    answer = asyncio.run(_sent(*service_of(config, url, key), method, model, body))
    if as_json:
        print(json.dumps(answer, indent=2))
    elif answer.get("deleted"):
        results().print(f"{answer['id']} is deleted.", soft_wrap=True, markup=False)
    else:
        results().print(f"{answer['id']}: {answer['type']}, {answer['status']}", soft_wrap=True, markup=False)


async def _sent(
    url: str, key: str | None, method: str, model: str | None, body: Mapping[str, Any] | None
) -> dict[str, Any]:
    async with Service(url, key) as service:
        return await ask_for(service, method, model, body)


async def ask_for(
    service: Service, method: str, model: str | None, body: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The service's answer to a change; an id is sent percent-encoded, whatever it holds."""
    path = "/v1/models" if model is None else f"/v1/models/{quote(model, safe='')}"
    return await service.change(method, path, body)


def service_of(config: Path | None, url: str | None, key: str | None) -> tuple[str, str | None]:
    """Address and key: those that were given, else those of the settings.

    Raises:
        UpstreamDied: neither says where the service is.
    """
    if url is not None:
        return url, key
    settings = effective(config).settings
    default = address(settings.server)
    if default is None:
        raise UpstreamDied("The settings do not say where the service is; give its address with --url.")
    keys = (secret.get_secret_value() for secret in settings.auth.api_keys)
    return default, key or next(keys, None)


def _put(fields: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for name in sections:
        fields = fields.setdefault(name, {})
        if not isinstance(fields, dict):  # pyright: ignore[reportUnnecessaryIsInstance] - it is what was set before
            raise InvalidRequest(f"{key}: {name!r} was given a value already.")
    fields[last] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
