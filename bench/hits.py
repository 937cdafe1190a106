"""What a hit takes through HTTP: the service as it is, with its default embedder."""

import asyncio
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.cache.minds import MODEL, model_folder
from bench.processes import BenchError, Child, free_port, running
from bench.systems import configuration

__all__ = ["HitCost", "hit_costs"]

_MODEL = "mock-c16"
_CHAT = "/v1/chat/completions"
_PLACES = ("kitchen", "cellar", "garden", "attic", "garage", "office", "porch", "stable", "studio", "workshop")
_VERBS = ("clean", "paint", "heat", "insure", "measure", "rent", "repair", "secure", "ventilate", "decorate")
_ROOMS = tuple(f"{verb} the {place} in house {{}}" for verb, place in product(_VERBS, _PLACES))
_MOST = 0.9
"""Part of the requests that has to come from where it should: a busy machine makes misses of some."""
_PATIENCE = 120.0


class HitCost(Struct, frozen=True, kw_only=True):
    """One kind of request, in milliseconds."""

    name: str
    p50: float
    p95: float
    p99: float
    count: int
    so: int
    """How many of them came from where they should; the times are of all."""


def hit_costs(houses: int, said: Callable[[str], None]) -> list[HitCost]:
    """Ask a hundred questions about each house, word for word again, and in other words.

    Raises:
        BenchError: the service did not come up, or answered otherwise than it should.
    """
    with tempfile.TemporaryDirectory() as name, _mock(Path(name)) as mock:
        said("without a cache")
        with _service(Path(name), mock, {"enabled": False}) as plain:
            without = _asked(plain, "misses, without a cache", "bypass", "How do I {}?", houses)
        with _service(Path(name), mock, {"semantic": {"trial": 0, "audit": 0}}) as house:
            said("asking for the first time")
            first = _asked(house, "misses", "miss", "How do I {}?", houses)
            said("waiting for the questions' vectors")
            _settled(house, houses * len(_ROOMS))
            said("asking again")
            again = _asked(house, "the very same again: exact hits", "exact", "How do I {}?", houses)
            other = _asked(house, "in other words: semantic hits", "semantic", "Hi, how can I {} please", houses)
    return [without, first, again, other]


@contextmanager
def _mock(folder: Path) -> Generator[int]:
    command = [sys.executable, "-m", "bench.mock", "--port", str(port := free_port())]
    with running(command, port=port, ready="/health", core=None, log=folder / "mock.log"):
        yield port


@contextmanager
def _service(folder: Path, mock: int, cache: dict[str, Any]) -> Generator[Child]:
    stated = configuration(port := free_port(), mock, [_MODEL], folder)
    embedder = {"source": str(asyncio.run(model_folder())), "kind": "embedding"}
    stated["models"] = {**stated["models"], MODEL: embedder}
    file = folder / "enginehouse.json"
    file.write_text(json.dumps({**stated, "cache": cache}))
    command = [sys.executable, "-m", "enginehouse", "serve", "--config", str(file)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with running(command, port=port, ready="/ready", core=None, log=folder / "service.log") as child:
        yield child


def _questions(form: str, houses: int) -> Iterable[str]:
    return (form.format(room.format(number)) for number in range(houses) for room in _ROOMS)


def _asked(house: Child, name: str, tier: str, form: str, houses: int) -> HitCost:
    times, tiers = list[float](), Counter[str]()
    with closing(http.client.HTTPConnection("127.0.0.1", house.port)) as connection:
        for question in _questions(form, houses):
            body = json.dumps({"model": _MODEL, "messages": [{"role": "user", "content": question}]})
            began = time.perf_counter()
            connection.request("POST", _CHAT, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            times.append((time.perf_counter() - began) * 1000)
            tiers[answer.getheader("X-Enginehouse-Cache") or "none"] += 1
    if tiers[tier] < _MOST * len(times):
        raise BenchError(f"Of {len(times)} requests only {tiers[tier]} were {tier!r}: {dict(tiers)}.")
    p50, p95, p99 = (sorted(times)[int(len(times) * part)] for part in (0.5, 0.95, 0.99))
    return HitCost(name=name, p50=p50, p95=p95, p99=p99, count=len(times), so=tiers[tier])


def _settled(house: Child, questions: int) -> None:
    """Wait until all questions are stored by their vectors."""
    stored, until = 0, time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with closing(http.client.HTTPConnection("127.0.0.1", house.port)) as connection:
            connection.request("GET", "/v1/cache/stats")
            stored = json.loads(connection.getresponse().read())["semantic"]["stored"]
        if stored >= questions:
            return
        time.sleep(0.2)
    raise BenchError(f"Of {questions} questions only {stored} were stored within {_PATIENCE:.0f} s.")
