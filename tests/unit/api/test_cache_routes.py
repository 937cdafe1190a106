"""The cache's routes and figures: who may clear what, and that Prometheus hears what the stats tell."""

import re
from pathlib import Path

import pytest

from enginehouse.api.cache import cache_router
from enginehouse.api.cache_metrics import cache_metrics
from enginehouse.api.framework import framework_app
from enginehouse.core.cache.managing import Managing
from enginehouse.core.cache.semantic.bound import interval
from enginehouse.errors import StoreUnavailable
from enginehouse.telemetry.metrics import Metrics
from enginehouse.testing import Caller
from enginehouse.types import Principal
from tests.unit.api.test_metrics import read
from tests.unit.cache.made import Clock, cache_of
from tests.unit.cache.test_never import CHAT, Willing
from tests.unit.cache.test_rulings import ask

ANN = Principal(user="ann", tenant="team", role="user")
TWIN, LONE = Principal(user="ann", tenant="others", role="user"), Principal(user="ann", role="user")
BOB, ADMIN = Principal(user="bob", tenant="team", role="user"), Principal(user="root", role="admin")
PAGE = Path(__file__).parents[3] / "docs" / "telemetry.md"
EVERYBODY = (ANN, TWIN, LONE, BOB)


async def cleared(cache, who, body=None):
    """What is said to a caller who wants this cleared."""
    rest = framework_app([cache_router(Managing(cache))])

    async def app(scope, receive, send):
        await rest({**scope, "state": {"principal": who}}, receive, send)

    headers = {"content-type": "application/x-www-form-urlencoded"}  # as curl says of its own accord
    return await Caller(app, "POST", "/v1/cache/clear", b"" if body is None else body, headers).run()


async def left(cache):
    """Whose answers are still there."""
    return {who for who in EVERYBODY if await ask(cache, CHAT, who, write=False) == "exact"}


@pytest.mark.parametrize(
    ("who", "body", "status", "gone"),
    [
        (ANN, {"user": "ann"}, 200, {ANN}),
        (ANN, {"user": "ann", "tenant": "team"}, 200, {ANN}),
        (LONE, {"user": "ann"}, 200, {LONE}),
        (ANN, {"user": "ann", "model": "other"}, 200, set()),
        (ANN, {"user": "ann", "tier": "semantic"}, 200, set()),
        (ANN, None, 403, set()),
        (ANN, {}, 403, set()),
        (ANN, {"model": "m"}, 403, set()),
        (ANN, {"user": "bob"}, 403, set()),
        (ANN, {"tenant": "team"}, 403, set()),
        (ANN, {"user": "ann", "tenant": "others"}, 403, set()),
        (LONE, {"user": "ann", "tenant": "team"}, 403, set()),
        (ADMIN, {"user": "ann"}, 200, {ANN, TWIN, LONE}),
        (ADMIN, {"user": "ann", "tenant": "others"}, 200, {TWIN}),
        (ADMIN, {"tenant": "team"}, 200, {ANN, BOB}),
        (ADMIN, None, 200, set(EVERYBODY)),
    ],
)
async def test_people_clear_what_is_theirs_and_admins_what_they_like(who, body, status, gone):
    cache = cache_of(Clock())
    for one in EVERYBODY:
        await ask(cache, CHAT, one)
    answer = await cleared(cache, who, body)
    assert answer.status == status
    if status == 200:
        assert answer.json()["cleared"] == len(gone)
    assert await left(cache) == set(EVERYBODY) - gone


class Judged(Willing):
    """Has figures to tell."""

    def stats(self):
        low, high = interval(1, 20)
        counts = {
            "stored": 6,
            "lookups": 9,
            "hits": 4,
            "shadow_hits": 2,
            "audits": 1,
            "audited": 20,
            "wrong": 1,
            "undecided": 3,
        }
        return {
            **counts,
            "alarms": 0,
            "embedder_failures": 7,
            "vetoes": {"numbers": 5, "voice": 1},
            "wrong_rate": {"low": low, "high": high},
            "max_error": 0.01,
            "scopes": {"strict": 1, "off": 0},
            "embedder": "ready",
            "bytes": 4096,
        }


def told(cache):
    """What Prometheus hears, without the beginning that all names share."""
    metrics = Metrics()
    metrics.add(cache_metrics(cache))
    return {name.removeprefix("enginehouse_cache_"): value for name, value in read(metrics.text().decode()).items()}


async def test_the_figures_are_those_of_the_stats():
    cache = cache_of(Clock(), meaning=Judged())
    for body in (CHAT, CHAT, CHAT, {**CHAT, "store": True}):
        await ask(cache, body)
    stats, now = await Managing(cache).stats(), told(cache)
    assert now["stored_total"] == stats["stored"] == 1
    assert now['bypassed_total{reason="stored_elsewhere"}'] == stats["bypassed"] == 1
    assert now["saved_tokens_total"] == stats["saved"]["tokens"] == 10
    assert now["unpriced_hits_total"] == 2
    assert (now["up"], now["entries"], now["bytes"]) == (1, 1, stats["bytes"])
    assert now['stage_seconds_bucket{le="+Inf",stage="exact_lookup"}'] == 4
    assert now['stage_seconds_count{stage="store"}'] == 1
    assert now['semantic_vetoes_total{kind="numbers"}'] == 5
    assert (now["semantic_shadow_hits_total"], now["semantic_audited_total"]) == (2, 20)
    assert now["semantic_wrong_rate_upper"] == pytest.approx(0.2487, abs=1e-4)
    assert (now['semantic_scopes{level="strict"}'], now["semantic_embedder_up"]) == (1, 1)


async def test_the_page_names_every_figure_and_no_other():
    cache = cache_of(Clock(), meaning=Judged())
    await Managing(cache).stats()
    metrics = Metrics()
    metrics.add(cache_metrics(cache))
    names = set(re.findall(r"^# TYPE enginehouse_cache_(\w+?)(?:_total)? ", metrics.text().decode(), re.MULTILINE))
    rows = re.findall(r"^\| `enginehouse_cache_(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.removesuffix("_total") for name in rows} == names | {"requests"}


async def test_a_store_that_is_away_is_told_and_nothing_of_it_made_up():
    class Away:
        backend = "memory"

        async def holding(self):
            raise StoreUnavailable("away")

    cache = cache_of(Clock(), answers=Away())
    assert (await Managing(cache).stats())["status"] == "degraded"
    now = told(cache)
    assert now["up"] == 0
    assert not {"entries", "bytes", "evicted_total"} & now.keys()
    assert not [name for name in now if name.startswith("semantic")]
