"""The servers elsewhere that models run on: each is asked for its models, with its own key."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from enginehouse.cli.doctor.finding import Finding, Status
from enginehouse.engines import anthropic, openai
from enginehouse.engines.ollama import server_of
from enginehouse.errors import EnginehouseError, UpstreamRefused
from enginehouse.settings.secrecy import without_passwords
from enginehouse.types import Deployment, EngineName, Model

__all__ = ["judge_server", "look_at_servers"]

PATIENCE = 6.0
"""Seconds a server may take to answer."""
_REFUSED = (401, 403)
_NO_LIST = (404, 405)


def look_at_servers(models: Iterable[Model]) -> Iterator[Finding]:
    """One finding a server and key, asked side by side."""
    groups: defaultdict[tuple[str, str, str | None], list[Deployment]] = defaultdict(list)
    for model in models:
        for place in model.deployments:
            if place.base_url is not None:
                groups[place.engine.value, place.base_url, place.api_key].append(place)
    yield from asyncio.run(_ask_all(list(groups.values())))


async def _ask_all(servers: Sequence[Sequence[Deployment]]) -> list[Finding]:
    return list(await asyncio.gather(*map(_ask, servers)))


async def _ask(places: Sequence[Deployment]) -> Finding:
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            known = await _models(places[0])
    except TimeoutError:
        return judge_server(places, None, f"no answer in {PATIENCE:g} s", None)
    except UpstreamRefused as error:
        return judge_server(places, None, error.message, error.status)
    except EnginehouseError as error:
        return judge_server(places, None, error.message, None)
    return judge_server(places, known, f"answers in {time.monotonic() - began:.2f} s", 200)


async def _models(place: Deployment) -> Sequence[str] | None:
    """What it has; None where it is of a kind that we cannot ask."""
    if place.engine is EngineName.OLLAMA:
        async with server_of(place, PATIENCE) as server:
            return await server.models()
    connect = {EngineName.OPENAI: openai.connect, EngineName.ANTHROPIC: anthropic.connect}.get(place.engine)
    if connect is None:
        return None
    async with connect(place, PATIENCE) as server:
        return await server.models()


def judge_server(
    places: Sequence[Deployment], known: Sequence[str] | None, said: str, status: int | None
) -> Finding:
    """Whether the models that shall run there can.

    Args:
        places: all deployments on it.
        known: its own names of its models; None where it did not tell.
        said: how it answered, in words.
        status: the same as a number; None when it did not answer.
    """
    first = places[0]
    name, where = f"server {first.engine.value}", without_passwords(first.base_url or "")
    if status in _REFUSED:
        return Finding(name, Status.FAIL, f"{where} refuses the key", f"Mend the api_key of {first.model!r}.")
    if status in _NO_LIST:
        return Finding(name, Status.OK, f"{where} answers, and has no list of models")
    if status != 200:
        remedy = f"Start it, check the network, or mend the base_url of {first.model!r}."
        return Finding(name, Status.FAIL, f"{where}: {said}", remedy)
    missing = sorted({place.name_there for place in places if known is not None and not _has(place, known)})
    if missing:
        remedy = f"ollama pull {missing[0]}" if first.engine is EngineName.OLLAMA else "Mend its upstream_model."
        return Finding(name, Status.WARN, f"{where} {said}, but does not list {', '.join(missing)}", remedy)
    models = ", ".join(sorted({place.model for place in places}))
    return Finding(name, Status.OK, f"{where} {said}: {models}")


def _has(place: Deployment, known: Sequence[str]) -> bool:
    return place.name_there in known or f"{place.name_there}:latest" in known
