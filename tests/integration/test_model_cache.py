"""The model cache's routes with a real service, a real chat model and the real embedder."""

import time

import psutil
import pytest

from enginehouse.residency.memory import measured
from tests.integration.service import Service

MIB = 1024 * 1024
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def own(tmp_path_factory, gguf):
    config = {
        "models": {"org/tiny": {"source": str(gguf), "context_length": 1024}},
        "residency": {"warmup_requests": 3, "min_residency": 0.1, "health_interval": 0.5},
    }
    with Service(tmp_path_factory.mktemp("cache"), config) as running:
        yield running


def model(own, name):
    status, body, _ = own.call(f"/models/{name}")
    assert status == 200, body
    return body


def ask(own, name):
    return own.call(CHAT, {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4})


def child(own, name):
    return next(one for one in own.children() if name in one.cmdline())


def test_load_and_memory_are_measured(own):
    before = time.monotonic()
    status, body, _ = own.call("/models/org/tiny/load", b"", timeout=120)
    assert status == 200, body
    assert body["cache_status"] == "loaded"
    assert 0 < body["load_time_seconds"] <= time.monotonic() - before
    size = measured(child(own, "org/tiny").pid) / MIB

    def settled():
        return own.call("/vram")[1]["models"]["org/tiny"]["ram_mb"] == pytest.approx(size, rel=0.05)

    own.wait_until(settled, 10)
    listed = own.call("/models")[1]
    assert listed["models"]["org/tiny"]["cached"]
    assert listed["models"]["org/tiny"]["memory_usage_mb"] == pytest.approx(size, rel=0.05)
    assert listed["cache_summary"]["cached_models"] >= 1
    report = own.call("/vram")[1]
    assert report["ram"]["total_mb"] == pytest.approx(psutil.virtual_memory().total / MIB, rel=0.01)
    assert own.call("/v1/models/status")[1]["models"]["org/tiny"]["ram_mb"] == pytest.approx(size, rel=0.05)


def test_requests_are_counted_and_timed(own):
    own.call("/models/org/tiny/load", b"", timeout=120)
    before = model(own, "org/tiny")
    began = time.monotonic()
    for _ in range(3):
        assert ask(own, "org/tiny")[0] == 200
    took = (time.monotonic() - began) * 1000
    after = model(own, "org/tiny")
    assert after["access_count"] == before["access_count"] + 3
    metrics = after["performance_metrics"]
    assert metrics["cache_hits"] == before["performance_metrics"]["cache_hits"] + 3
    assert 0 < metrics["avg_inference_time_ms"] <= took
    assert 0 < metrics["p50_inference_time_ms"] <= metrics["p95_inference_time_ms"]
    stats = own.call("/stats")[1]
    assert stats["cache_stats"]["performance"]["total_inferences"] >= 3
    assert stats["cache_stats"]["models"]["org/tiny"]["access_count"] == after["access_count"]
    health = own.call("/health")[1]
    assert 0 < health["cache_hit_rate"] <= 1


@pytest.mark.parametrize("name", ["org/tiny", "minilm"])
def test_a_warm_up_takes_the_time_it_says(own, name):
    own.call(f"/models/{name}/load", b"", timeout=300)
    counted = model(own, name)["access_count"]
    began = time.monotonic()
    status, body, _ = own.call(f"/models/{name}/warmup", b"", timeout=120)
    took = time.monotonic() - began
    assert status == 200, body
    assert (body["warmup_status"], body["warmup_requests"], body["failed_requests"]) == ("completed", 3, 0)
    assert 0 < body["warmup_time_seconds"] <= took
    assert 0 < body["avg_response_time_ms"] <= body["warmup_time_seconds"] * 1000 / 3 + 1
    after = model(own, name)
    assert after["model_info"]["warmup_completed"]
    assert after["access_count"] == counted


def test_a_forced_clean_up_really_frees(own):
    assert own.call("/models/org/tiny/load", b"", timeout=120)[0] == 200
    pid = child(own, "org/tiny").pid
    time.sleep(0.3)
    status, body, _ = own.call("/cleanup?force=true", b"")
    assert status == 200
    assert "org/tiny" in body["cleanup_summary"]["models_affected"]
    assert body["memory_usage"]["freed_mb"] > 50
    assert not psutil.pid_exists(pid)
    assert model(own, "org/tiny")["cached"] is False
    assert own.call("/stats")[1]["system_stats"]["cleanup_count"] >= 1


def test_unload_tells_what_it_freed(own):
    own.call("/models/org/tiny/load", b"", timeout=120)
    status, body, _ = own.call("/models/org/tiny/unload", b"")
    assert (status, body["cache_status"]) == (200, "unloaded")
    assert body["memory_freed_mb"] > 50
    assert model(own, "org/tiny")["performance_metrics"]["evictions"]["unloaded"] >= 1


def test_errors_have_this_faces_shape(own):
    status, body, _ = own.call("/models/nobody")
    assert (status, body["status"], body["code"]) == (404, "error", "MODEL_NOT_FOUND")


def test_the_periodic_clean_up_frees_idle_models(tmp_path, gguf):
    config = {
        "models": {"one": {"source": str(gguf), "context_length": 512}},
        "residency": {"memory_threshold": 0.0001, "cleanup_interval": 1, "min_residency": 0},
    }
    with Service(tmp_path, config) as own:
        assert ask(own, "one")[0] == 200
        own.wait_until(lambda: model(own, "one")["cached"] is False, 10)
        assert model(own, "one")["performance_metrics"]["evictions"] == {"cleanup": 1}
        system = own.call("/stats")[1]["system_stats"]
        assert system["cleanup_count"] >= 1
        assert system["memory_cleanup_mb"] > 50
        assert own.call("/health")[1]["last_cleanup"] is not None
