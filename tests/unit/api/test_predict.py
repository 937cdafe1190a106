"""`POST /predict` over a fake classifier: its body field by field, its memory, its errors, what is recorded."""

import asyncio
import json
from datetime import datetime
from urllib.parse import quote

import pytest

from enginehouse.testing import FakeClassifier, simulate
from enginehouse.types import EngineName, Kind
from tests.unit.api.house import model, open_door


def at_the_door(**how):
    """A test that is handed an open door behind which `judge` classifies."""

    def decorate(test):
        def run():
            async def main():
                async with open_door(**how) as door:
                    judge = model("judge", Kind.CLASSIFIER, EngineName.ONNX)
                    door.catalogue.replace("settings", [*door.catalogue.models(), judge])
                    door.onnx.engine = FakeClassifier(seconds=0.02)
                    await test(door)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


async def predict(door, body, status=200, **headers):
    answer = await door.post("/predict", body, **headers)
    assert answer.status == status, answer.body
    return answer.json()


@at_the_door()
async def test_the_answer_is_the_documented_one(door):
    answer = await door.post("/predict?text=" + quote("an attack & more") + "&model_name=judge-alias", b"")
    body = answer.json()
    assert datetime.fromisoformat(body.pop("timestamp")).tzinfo is not None
    assert body.pop("processing_time_ms") >= 0
    assert body == {
        "text": "an attack & more",
        "prediction": "prompt_injection",
        "confidence": 0.9,
        "probabilities": {"prompt_injection": 0.9, "jailbreak": 0.05, "benign": 0.05},
        "model_used": "judge",
        "cache_hit": False,
        "truncated": False,
    }
    assert answer.headers["x-enginehouse-model"] == "judge"


@at_the_door()
async def test_a_body_does_as_well_and_the_default_model_needs_no_name(door):
    assert (await predict(door, {"text": "evil"}))["prediction"] == "jailbreak"
    assert (await predict(door, {"text": ""}))["prediction"] == "benign"


@at_the_door()
async def test_a_hit_is_told_only_where_the_model_was_not_asked(door):
    first, second = await predict(door, {"text": "attack"}), await predict(door, {"text": "attack"})
    assert (first["cache_hit"], second["cache_hit"]) == (False, True)
    assert {**second, "cache_hit": False, "timestamp": 0, "processing_time_ms": 0} == {
        **first,
        "timestamp": 0,
        "processing_time_ms": 0,
    }
    assert door.onnx.engine.asked == ["attack"]
    again = await door.post("/predict", {"text": "attack"}, cache_control="no-cache")
    assert (again.json()["cache_hit"], again.headers["x-enginehouse-cache"]) == (False, "bypass")
    assert door.onnx.engine.asked == ["attack"] * 2
    await predict(door, {"text": "secret"}, cache_control="no-store")
    assert (await predict(door, {"text": "secret"}))["cache_hit"] is False


@at_the_door()
async def test_what_is_remembered_is_forgotten_after_its_time(door):
    await predict(door, {"text": "attack"})
    await asyncio.sleep(3599)
    assert (await predict(door, {"text": "attack"}))["cache_hit"] is True
    await asyncio.sleep(2)
    assert (await predict(door, {"text": "attack"}))["cache_hit"] is False


@at_the_door()
async def test_another_version_of_a_model_has_its_own_memory(door):
    await predict(door, {"text": "attack"})
    others = [one for one in door.catalogue.models() if one.id != "judge"]
    door.catalogue.replace("settings", [*others, model("judge", Kind.CLASSIFIER, EngineName.ONNX, source="other")])
    assert (await predict(door, {"text": "attack"}))["cache_hit"] is False


@at_the_door()
async def test_many_texts_are_answered_in_order_and_each_is_asked_once(door):
    await predict(door, {"text": "known"})
    body = await predict(door, {"texts": ["evil", "known", "attack", "evil"], "model_name": "judge"})
    assert [one["prediction"] for one in body["predictions"]] == [
        "jailbreak",
        "benign",
        "prompt_injection",
        "jailbreak",
    ]
    assert [one["cache_hit"] for one in body["predictions"]] == [False, True, False, False]
    assert (body["count"], body["cache_hits"], body["model_used"]) == (4, 1, "judge")
    assert door.onnx.engine.asked == ["known", "evil", "attack"]


@at_the_door()
async def test_a_thousand_texts_and_not_one_more(door):
    texts = [f"text {number}" for number in range(1000)]
    body = await predict(door, {"texts": texts})
    assert [one["text"] for one in body["predictions"]] == texts
    assert (await predict(door, {"texts": [*texts, "x"]}, 400))["code"] == "INVALID_REQUEST_ERROR"


@at_the_door()
async def test_every_request_is_recorded_and_a_hit_costs_nothing(door):
    await predict(door, {"text": "one two"})
    await predict(door, {"text": "one two"})
    first, second = sorted(door.books.kept.values(), key=lambda record: record.time)
    assert (first.operation, first.face, first.outcome) == ("classification", "predict", "completed")
    assert (first.input_tokens, first.cache, first.model) == (2, "", "judge")
    assert (second.input_tokens, second.cache, second.outcome) == (0, "exact", "completed")
    assert (second.cost, second.upstream_us) == (0, None)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/predict", b"", 400, "INVALID_REQUEST_ERROR"),
        ("/predict", b"{", 400, "INVALID_REQUEST_ERROR"),
        ("/predict", {"text": "a", "texts": ["b"]}, 400, "INVALID_REQUEST_ERROR"),
        ("/predict", {"texts": []}, 400, "INVALID_REQUEST_ERROR"),
        ("/predict", {"text": 5}, 400, "INVALID_REQUEST_ERROR"),
        ("/predict?text=a", {"text": "b"}, 400, "INVALID_REQUEST_ERROR"),
        ("/predict?text=a&text=b", b"", 400, "INVALID_REQUEST_ERROR"),
        ("/predict?text=a&model_name=", b"", 400, "INVALID_REQUEST_ERROR"),
        ("/predict", {"text": "a", "model_name": "nobody"}, 404, "MODEL_NOT_FOUND"),
        ("/predict", {"text": "a", "model_name": "tiny"}, 400, "INVALID_REQUEST_ERROR"),
    ],
)
def test_what_is_wrong_is_told_in_the_shape_of_the_model_cache(path, body, status, code):
    @at_the_door()
    async def ask(door):
        answer = await door.post(path, body)
        told = answer.json()
        assert (answer.status, told["status"], told["code"]) == (status, "error", code)
        assert told.keys() == {"status", "error", "code", "timestamp"}

    ask()


@at_the_door()
async def test_any_text_has_an_answer(door):
    for text in ("", "\x00\x1b", "مرحبا \u202e", "a" * 1_000_000):
        body = await predict(door, {"text": text})
        assert (body["text"], body["truncated"]) == (text, len(text) > 1000)
    escaped = await door.post("/predict", json.dumps({"text": "\ud800"}).encode())
    assert escaped.status == 400  # no JSON holds half a character
    assert (await door.post("/predict?text=%ff%00", b"")).json()["text"] == "\ufffd\x00"


@at_the_door()
async def test_classifiers_are_warmed_up_too(door):
    answer = await door.post("/models/judge/warmup", b"")
    assert (answer.status, answer.json()["warmup_requests"]) == (200, 10)
    assert len(door.onnx.engine.asked) == 10
    assert not [one for one in door.books.kept.values() if one.face == "predict"]
