"""The byte ledger and swaps with the real engine."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from enginehouse.engines.llama_server import estimated_bytes
from enginehouse.engines.metadata import describe
from enginehouse.residency.memory import measured
from enginehouse.types import Deployment, EngineName, Kind
from tests.integration.service import Service

CHAT = "/v1/chat/completions"
CONTEXTS = {"short": 512, "long": 8192}


def hello(model):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


def test_the_estimate_is_near_what_is_measured(tmp_path, gguf):
    own_copy = str(shutil.copy(gguf, tmp_path / "copy.gguf"))
    models = {name: {"source": own_copy, "context_length": tokens} for name, tokens in CONTEXTS.items()}
    one_at_a_time = {"max_models": 1, "min_residency": 0}  # processes that share a file share its pages
    with Service(tmp_path, {"models": models, "residency": one_at_a_time}) as own:
        for name, tokens in CONTEXTS.items():
            assert own.call(CHAT, hello(name))[0] == 200
            deployment = Deployment(
                id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, context_length=tokens
            )
            child = next(child for child in own.children() if name in child.cmdline())
            assert estimated_bytes(deployment, describe(gguf)) == pytest.approx(measured(child.pid), rel=0.15)


def test_two_models_with_room_for_one_take_turns(tmp_path, gguf):
    total = psutil.virtual_memory().total
    share = 500 * 1024 * 1024 / total / 0.85  # room for one of about 340 MiB, not for two
    config = {
        "models": {name: {"source": str(gguf), "context_length": 8192} for name in ("one", "two")},
        "residency": {"max_memory_usage": share, "min_residency": 0},
    }
    with Service(tmp_path, config) as own:
        for name in ("one", "two", "one"):
            status, answer, _ = own.call(CHAT, hello(name))
            assert status == 200, answer
            alive = [child for child in own.children() if child.status() != psutil.STATUS_ZOMBIE]
            assert [name in child.cmdline() for child in alive] == [True]
        huge = {**config["models"], "huge": {"source": str(gguf), "context_length": 8192, "slots": 4}}
        own.configure({**config, "models": huge})
        own.wait_until(lambda: own.call("/v1/models/huge")[0] == 200, 10)
        status, answer, _ = own.call(CHAT, hello("huge"))
        assert (status, answer["error"]["code"]) == (507, "insufficient_memory")
        assert own.status("one")["status"] == "ready"


def test_a_model_grows_while_requests_wait_and_shrinks_again(tmp_path, gguf):
    config = {
        "models": {
            "m": {
                "source": str(gguf),
                "context_length": 512,
                "flags": ["-t", "1"],
                "instances": {"min": 1, "max": 2},
            }
        },
        "residency": {"scale_up_wait": 0.2, "scale_down_idle": 2},
    }
    long = {**hello("m"), "max_tokens": 40, "ignore_eos": True}
    with Service(tmp_path, config) as own, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(own.call, CHAT, long) for _ in range(10)]
        own.wait_until(lambda: own.call("/v1/models/m/status")[1].get("instances") == 2, 60)
        assert len(own.children()) == 2
        assert own.call("/v1/queue/stats")[1]["queues"]["m"]["slots"] == 2
        assert [answer.result()[0] for answer in answers] == [200] * 10
        own.wait_until(lambda: len(own.children()) == 1, 30)
        told = own.call("/v1/models/m/status?explain=1")[1]
        assert told["instances"] == 1
        assert "grows" in {decision["what"] for decision in told["explanation"]["decisions"]}
