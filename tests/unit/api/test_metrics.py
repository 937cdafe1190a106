"""`/metrics`: the documented names with their types, that they agree with `/stats`, and who may read them."""

import asyncio

import pytest

from enginehouse.api.metrics import open_paths
from enginehouse.settings.schema import Settings
from enginehouse.telemetry.metrics import Metrics, bare_counter, counter, gauge
from enginehouse.testing import WHOLE, FakeClassifier, simulate
from enginehouse.types import EngineName, Kind
from tests.unit.api.house import model, open_door

DOCUMENTED = """
# HELP model_cache_models_total Total number of models
# TYPE model_cache_models_total gauge
# HELP model_cache_models_cached Cached models count
# TYPE model_cache_models_cached gauge
# HELP model_cache_memory_usage_mb Memory usage in MB
# TYPE model_cache_memory_usage_mb gauge
# HELP model_cache_memory_usage_percentage Memory usage percentage
# TYPE model_cache_memory_usage_percentage gauge
# HELP model_cache_hit_rate Cache hit rate
# TYPE model_cache_hit_rate gauge
# HELP model_cache_inference_time_ms Average inference time in milliseconds
# TYPE model_cache_inference_time_ms gauge
# HELP model_cache_inferences_total Total number of inferences
# TYPE model_cache_inferences_total counter
# HELP model_cache_cache_hits_total Total cache hits
# TYPE model_cache_cache_hits_total counter
# HELP model_cache_cache_misses_total Total cache misses
# TYPE model_cache_cache_misses_total counter
# HELP model_cache_cleanup_events_total Total cleanup events
# TYPE model_cache_cleanup_events_total counter
# HELP model_cache_memory_cleanup_mb Total memory cleaned up in MB
# TYPE model_cache_memory_cleanup_mb counter
""".strip().splitlines()


def read(text):
    """Values by name, labels included."""
    told = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in told}


def test_the_model_caches_names_are_the_documented_ones():
    async def main():
        async with open_door() as door:
            answer = await door.call("GET", "/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            lines = answer.body.decode().splitlines()
            assert [line for line in lines if line.startswith("# ") and "model_cache_" in line] == DOCUMENTED
            names = {line.split()[2] for line in DOCUMENTED}
            assert {line.split()[0] for line in lines if line.startswith("model_cache_")} == names

    simulate(main())


def test_they_agree_with_stats():
    async def main():
        async with open_door([0.5, WHOLE], guard={"mode": "flag", "model": "judge"}) as door:
            judge = model("judge", Kind.CLASSIFIER, EngineName.ONNX)
            door.catalogue.replace("settings", [*door.catalogue.models(), judge])
            door.onnx.engine = FakeClassifier()
            said = {"model": "tiny", "messages": [{"role": "user", "content": "attack"}]}
            for _ in range(3):
                await door.post("/v1/chat/completions", said)
            await door.post("/predict", {"text": "attack"})
            await asyncio.sleep(10)
            await door.post("/cleanup?force=true", b"")
            stats = (await door.call("GET", "/stats")).json()
            now = read((await door.call("GET", "/metrics")).body.decode())
            cache, system = stats["cache_stats"], stats["system_stats"]
            assert now["model_cache_models_total"] == cache["total_models"] == 4
            assert now["model_cache_models_cached"] == cache["cached_models"]
            assert now["model_cache_memory_usage_mb"] == cache["memory_usage"]["used_mb"]
            assert now["model_cache_inferences_total"] == cache["performance"]["total_inferences"] == 3
            assert now["model_cache_cache_hits_total"] == cache["performance"]["cache_hits"]
            assert now["model_cache_cache_misses_total"] == cache["performance"]["cache_misses"] == 1
            assert now["model_cache_cleanup_events_total"] == system["cleanup_count"] == 1
            assert now["model_cache_memory_cleanup_mb"] == system["memory_cleanup_mb"] > 0
            assert now["enginehouse_prediction_hits_total"] == cache["predictions"]["hits"] == 3
            assert now['enginehouse_guard_total{mode="flag",outcome="flagged"}'] == 3

    simulate(main())


@pytest.mark.parametrize(
    ("settings", "public"),
    [
        ({}, True),
        ({"server": {"host": "0.0.0.0"}}, False),
        ({"server": {"host": "0.0.0.0"}, "metrics": {"public": True}}, True),
    ],
)
def test_anybody_may_read_them_on_loopback_or_where_the_settings_say_so(settings, public):
    assert ("/metrics" in open_paths(Settings.model_validate(settings))) is public


def test_elsewhere_they_want_a_key():
    async def main():
        async with open_door(keys=["secret-key"]) as door:
            assert (await door.call("GET", "/metrics")).status == 401
            door.app.adopt(door.app._identity, door.app._server, {"/metrics"})
            assert (await door.call("GET", "/metrics")).status == 200

    simulate(main())


def test_a_name_is_taken_once_and_endings_are_kept():
    metrics = Metrics()
    metrics.add(lambda: [gauge("a_total", "A", 1), counter("b_total", "B", 2), bare_counter("c", "C", 3)])
    assert metrics.text().decode().splitlines() == [
        "# HELP a_total A",
        "# TYPE a_total gauge",
        "a_total 1.0",
        "# HELP b_total B",
        "# TYPE b_total counter",
        "b_total 2.0",
        "# HELP c C",
        "# TYPE c counter",
        "c 3.0",
    ]
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.add(lambda: [gauge("a_total", "A", 1)])
