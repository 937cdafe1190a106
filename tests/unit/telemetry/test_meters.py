"""Every metric there is: the documented names, what they count, and labels that no caller can make up."""

import asyncio
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from enginehouse.settings.schema import AdmissionSettings
from enginehouse.telemetry.histograms import SECONDS, Histogram, quantile
from enginehouse.telemetry.metrics import HistogramFamily, Metrics
from enginehouse.testing import WHOLE
from tests.unit.api.test_metrics import read
from tests.unit.telemetry.test_telemetry_api import CHAT, DONE, HELLO, PRICES, STREAM, TEXT, Callers, at_the_door

PAGE = Path(__file__).parents[3] / "docs" / "telemetry.md"


async def metrics(door, **headers):
    return read((await door.call("GET", "/metrics", **headers)).body.decode())


@at_the_door(chunks=[WHOLE])
async def test_the_routers_names_are_the_documented_ones(door):
    await door.post(CHAT, HELLO)
    await door.post(CHAT, {**HELLO, "model": "nobody"})
    lines = (await door.call("GET", "/metrics")).body.decode().splitlines()
    assert [line for line in lines if line.startswith("# ") and " router_" in line] == [
        "# HELP router_requests_total Total requests processed",
        "# TYPE router_requests_total counter",
        "# HELP router_model_vram_bytes VRAM usage per model",
        "# TYPE router_model_vram_bytes gauge",
        "# HELP router_queue_depth Current queue depth per model",
        "# TYPE router_queue_depth gauge",
    ]
    now = await metrics(door)
    assert now['router_requests_total{model="tiny",status="success"}'] == 1
    assert now['router_requests_total{model="unknown",status="error"}'] == 1
    assert now['router_model_vram_bytes{model="tiny"}'] == 0
    assert now['router_queue_depth{model="tiny"}'] == 0


@at_the_door(chunks=[1.0, TEXT, 2.0, DONE], load_seconds=4, prices=PRICES)
async def test_requests_are_counted_with_their_times_tokens_and_cost(door):
    for _ in range(2):
        await door.post(CHAT, STREAM)
    now = await metrics(door)

    def of(name, **labels):
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted({"model": "tiny", **labels}.items()))
        return now[f"enginehouse_{name}{{{wanted}}}"]

    assert of("requests_total", outcome="completed") == 2
    assert (of("tokens_total", type="input"), of("tokens_total", type="output")) == (10, 6)
    assert of("cost_dollars_total") == pytest.approx(0.022)
    assert of("unpriced_requests_total") == 0
    assert (of("request_seconds_count"), of("request_seconds_sum")) == (2, pytest.approx(10))
    assert of("load_wait_seconds_sum") == pytest.approx(4)
    assert now['enginehouse_load_wait_seconds_bucket{le="0.001",model="tiny"}'] == 1
    assert of("time_to_first_token_seconds_sum") == pytest.approx(2)
    assert of("inter_token_seconds_sum") == pytest.approx(2)
    assert of("output_tokens_per_second_sum") == pytest.approx(2)
    assert of("gateway_seconds_sum") == pytest.approx(0)
    assert now['enginehouse_cache_requests_total{tier="bypass"}'] == 2
    assert now['enginehouse_http_responses_total{status="200"}'] == 2
    assert of("model_ready") == 1
    assert of("model_loads_total") == 1
    assert now['enginehouse_models{state="ready"}'] == 1
    assert now["enginehouse_requests_in_flight"] == 0
    await door.post("/v1/models/tiny/unload", b"")
    now = await metrics(door)
    assert of("evictions_total", cause="unloaded") == 1


@at_the_door(chunks=[10.0, WHOLE], admission=AdmissionSettings(max_queue_size=1, queue_timeout=3))
async def test_lines_are_told_as_they_are(door):
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(door.post(CHAT, HELLO, x_request_priority="low"))
        await asyncio.sleep(1)
        now = await metrics(door)
        assert now['enginehouse_queue_depth{model="tiny",priority="low"}'] == 1
        assert now['enginehouse_queue_active{model="tiny"}'] == 1
        assert now['router_queue_depth{model="tiny"}'] == 1
        assert now["enginehouse_requests_in_flight"] == 2
    now = await metrics(door)
    assert now['enginehouse_queue_refused_total{model="tiny",reason="full"}'] == 1
    assert now['enginehouse_queue_refused_total{model="tiny",reason="timeout"}'] == 1
    assert now['enginehouse_errors_total{code="queue_full",model="tiny"}'] == 1
    assert now['enginehouse_queue_wait_seconds_count{model="tiny"}'] == 3


@at_the_door(chunks=[WHOLE], callers=Callers())
async def test_nobody_can_make_up_labels(door):
    await door.post(CHAT, HELLO, x_api_key="ann")
    await door.post(CHAT, {**HELLO, "model": "x"}, x_api_key="ann")
    await door.post(CHAT, b"{", x_api_key="ann")
    await door.post(CHAT, HELLO, x_api_key="stranger")
    before = set(await metrics(door, x_api_key="boss"))
    for number in range(50):
        await door.post(CHAT, {**HELLO, "model": f"made-up-{number}"}, x_api_key="ann")
        await door.post(CHAT, HELLO, x_api_key=f"stranger-{number}")
        await door.post(CHAT, b"{", x_api_key="bob", x_request_id=f"id-{number}")
    after = set(await metrics(door, x_api_key="boss"))
    assert after == before
    assert not any("ann" in name or "made-up" in name for name in after)


@at_the_door(chunks=[WHOLE])
async def test_the_page_names_every_metric_and_no_other(door):
    await door.post(CHAT, HELLO)
    text = (await door.call("GET", "/metrics")).body.decode()
    told = {
        family.name
        for family in text_string_to_metric_families(text)
        if family.name.startswith(("enginehouse_", "router_"))
    }
    rows = re.findall(r"^\| `((?:enginehouse|router)_\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    written = {name.removesuffix("_total") for name in rows}
    assert told - written == set()
    # See test_cache_routes.py and test_fleet_views.py.
    of_others = {name for name in written if name.startswith(("enginehouse_cache_", "enginehouse_fleet_"))}
    assert written - told - of_others <= {"enginehouse_sessions"}, "told once the database was asked"


def test_quantiles_lie_within_their_bucket():
    histogram = Histogram(SECONDS)
    for value in (0.002, 0.003, 0.2, 0.2, 700.0):
        histogram.note(value)
    assert quantile(SECONDS, histogram.counts, 0.2) == pytest.approx(0.0025)
    assert 0.1 < quantile(SECONDS, histogram.counts, 0.5) < 0.25
    assert quantile(SECONDS, histogram.counts, 1.0) == 600.0
    assert quantile(SECONDS, [0] * len(histogram.counts), 0.5) is None
    assert list(histogram.buckets())[-1] == ("+Inf", 5)
    assert histogram.total == pytest.approx(700.405)


def test_the_text_is_what_the_library_would_write():
    odd = 'a "quoted" \\ back\nline é'
    counted = CounterMetricFamily("c", 'Meaning \\ of\nit "x"', labels=["b", "a"])
    counted.add_metric([odd, "2"], 1e21)
    histogram = Histogram((0.5, 1.0))
    for value in (0.5, 0.7, 3.0):
        histogram.note(value)
    seen = HistogramFamily("h", "H", ["m"])
    seen.add(["x"], histogram)
    seen.add(["nothing yet"], Histogram())
    known = HistogramMetricFamily("h", "H", labels=["m"])
    known.add_metric(["x"], list(histogram.buckets()), sum_value=histogram.total)
    assert seen.samples == known.samples
    bare = GaugeMetricFamily("g", "G", value=float("nan"))
    metrics = Metrics()
    metrics.add(lambda: [counted, seen, bare, GaugeMetricFamily("none", "None", labels=["x"])])
    assert metrics.text() == generate_latest(metrics.registry)
