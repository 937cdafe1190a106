"""The OpenAI face over fake engines, on a simulated clock."""

import asyncio
import base64
import json
import struct

import pytest

from enginehouse.api.wire import come_again
from enginehouse.errors import InsufficientMemory, ModelLoadFailed, RateLimitExceeded, UpstreamDied
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**HELLO, "stream": True}

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = FINISH + b"data: [DONE]\n\n"


def with_door(**how):
    """Run an async test in simulated time with a door whose engine answers as said."""

    def wrap(test):
        def run():
            async def main():
                async with open_door(**how) as door:
                    await test(door)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return wrap


@with_door(chunks=[WHOLE])
async def test_an_answer_passes_through_with_its_headers(door):
    answer = await door.post(CHAT, HELLO)
    assert (answer.status, answer.body) == (200, WHOLE)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-enginehouse-model"] == "tiny"
    assert answer.headers["x-enginehouse-cache"] == "bypass"
    phases = [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")]
    assert phases == ["queue", "load", "upstream", "gateway"]
    assert len(answer.headers["x-request-id"]) == 32


@with_door(chunks=[WHOLE])
async def test_unknown_fields_reach_the_engine_untouched(door):
    body = (
        b'{"model":"tiny","messages":[{"role":"user","content":"hi","odd":1.50}],"top_k":40,"nested":{"a":[1,2]}}'
    )
    await door.post(CHAT, body)
    assert door.engine.calls[0].body == body


@with_door(chunks=[WHOLE])
async def test_an_alias_means_the_model(door):
    answer = await door.post(CHAT, {**HELLO, "model": "tiny-alias"})
    assert answer.headers["x-enginehouse-model"] == "tiny"


@with_door(chunks=[TEXT, USAGE, DONE])
async def test_usage_that_only_we_wanted_is_taken_out(door):
    answer = await door.post(CHAT, STREAM)
    assert answer.body == TEXT + DONE
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = json.loads(door.engine.calls[0].body)
    assert sent["stream_options"] == {"include_usage": True}


@with_door(chunks=[TEXT + USAGE + DONE])
async def test_usage_that_was_asked_for_stays(door):
    answer = await door.post(CHAT, {**STREAM, "stream_options": {"include_usage": True}})
    assert answer.body == TEXT + USAGE + DONE


@with_door(chunks=[TEXT[:10], TEXT[10:] + USAGE[:30], USAGE[30:] + DONE[:4], DONE[4:]])
async def test_frames_are_whole_however_they_arrive(door):
    answer = await door.post(CHAT, STREAM)
    assert answer.body == TEXT + DONE


@with_door(chunks=[TEXT])
async def test_a_stream_without_its_end_is_an_error_frame_and_no_done(door):
    answer = await door.post(CHAT, STREAM)
    assert answer.status == 200
    assert answer.chunks[0] == TEXT
    assert json.loads(answer.events()[-1])["error"]["code"] == "upstream_died"
    assert "[DONE]" not in answer.events()
    assert answer.ended


@with_door(chunks=[TEXT, UpstreamDied("The connection to the engine broke.")])
async def test_a_connection_that_breaks_mid_stream_is_an_error_frame(door):
    answer = await door.post(CHAT, STREAM)
    assert json.loads(answer.events()[-1])["error"]["message"] == "The connection to the engine broke."


@with_door(chunks=[TEXT, b'data: {"error":{"message":"slot died","code":500}}\n\n'])
async def test_an_error_inside_the_stream_is_told_in_our_shape(door):
    answer = await door.post(CHAT, STREAM)
    error = json.loads(answer.events()[-1])["error"]
    assert error["code"] == "upstream_error"
    assert "slot died" in error["message"]


@with_door(chunks=[UpstreamDied("gone")])
async def test_an_error_before_the_first_byte_has_a_status(door):
    answer = await door.post(CHAT, STREAM)
    assert answer.status == 502
    assert answer.json()["error"]["code"] == "upstream_died"


@with_door(chunks=[TEXT, DONE], load_seconds=40)
async def test_a_slow_load_is_bridged_with_pings(door):
    answer = await door.post(CHAT, STREAM)
    assert answer.chunks[:2] == [b": ping\n\n", b": ping\n\n"]
    assert answer.body.endswith(TEXT + DONE)


@with_door(load_seconds=20, failure=ModelLoadFailed("bad magic", retry_after=10))
async def test_a_load_that_fails_after_a_ping_is_an_error_frame(door):
    answer = await door.post(CHAT, STREAM)
    assert answer.status == 200
    assert json.loads(answer.events()[-1])["error"]["code"] == "model_load_failed"


@with_door(failure=ModelLoadFailed("bad magic", retry_after=10))
async def test_a_load_that_fails_is_503_with_the_engines_words(door):
    answer = await door.post(CHAT, HELLO)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "10"
    assert "x-should-retry" not in answer.headers
    assert answer.json()["error"]["message"] == "bad magic"


@pytest.mark.parametrize(("seconds", "told"), [(0.0, b"1"), (0.4, b"1"), (1.0, b"1"), (1.2, b"2"), (10.01, b"11")])
def test_who_keeps_to_retry_after_does_not_come_too_early(seconds, told):
    assert come_again(RateLimitExceeded("Too often.", retry_after=seconds)) == [(b"retry-after", told)]
    assert come_again(RateLimitExceeded("Too often.")) == []


@with_door(failure=InsufficientMemory("Needs 9 bytes; 8 are there."))
async def test_a_model_that_never_fits_is_not_to_be_asked_for_again(door):
    """OpenAI's and Anthropic's clients ask twice more after any other 5xx."""
    answer = await door.post(CHAT, HELLO)
    assert (answer.status, answer.headers["x-should-retry"]) == (507, "false")


@with_door(chunks=[TEXT, 30.0, DONE])
async def test_silence_inside_a_stream_is_pinged(door):
    answer = await door.post(CHAT, STREAM)
    assert b": ping\n\n" in answer.chunks
    assert answer.chunks[-1] == DONE


@pytest.mark.parametrize("stream", [True, False])
def test_a_crash_before_the_first_byte_is_not_seen_by_the_caller(stream):
    async def main():
        async with open_door([1.0, UpstreamDied("gone")]) as door:
            asking = asyncio.ensure_future(door.post(CHAT, STREAM if stream else HELLO))
            await asyncio.sleep(0.5)
            door.launcher.watchers["tiny"].ended("The engine process was killed by signal 11.")
            door.engine.chunks = [TEXT, DONE] if stream else [WHOLE]
            answer = await asking
            assert (answer.status, answer.ended) == (200, True)
            assert answer.body == (TEXT + DONE if stream else WHOLE)
            assert door.launcher.loads == ["tiny", "tiny"]

    simulate(main())


def test_a_crash_after_the_first_byte_is_an_error_frame():
    async def main():
        async with open_door([TEXT, 1.0, UpstreamDied("gone")]) as door:
            asking = asyncio.ensure_future(door.post(CHAT, STREAM))
            await asyncio.sleep(0.5)
            door.launcher.watchers["tiny"].ended("The engine process was killed by signal 11.")
            answer = await asking
            assert json.loads(answer.events()[-1])["error"]["code"] == "upstream_died"
            assert door.launcher.loads == ["tiny"]

    simulate(main())


@pytest.mark.parametrize("phase", ["loading", "before the first byte", "mid-stream"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_frees_everything(phase, stream):
    chunks = [1000.0, WHOLE] if phase == "before the first byte" else [TEXT, 1000.0, WHOLE]

    async def main():
        async with open_door(chunks, load_seconds=1000 if phase == "loading" else 0) as door:
            caller = door.caller("POST", CHAT, STREAM if stream else HELLO)
            running = asyncio.ensure_future(caller.run())
            await asyncio.sleep(5)
            assert door.engine.running == (0 if phase == "loading" else 1)
            caller.leave()
            await asyncio.sleep(0.1)
            assert running.done()
            assert door.engine.running == 0
            assert not caller.answer.ended
            if phase != "loading":  # the next one gets the slot at once
                door.engine.chunks = [WHOLE]
                assert (await door.post(CHAT, HELLO)).status == 200

    simulate(main())


@with_door(chunks=[5.0, WHOLE], admission=AdmissionSettings(max_queue_size=1))
async def test_a_full_queue_is_503_with_retry_after(door):
    calls = [asyncio.ensure_future(door.post(CHAT, HELLO)) for _ in range(3)]
    answers = await asyncio.gather(*calls)
    assert sorted(a.status for a in answers) == [200, 200, 503]
    refused = next(a for a in answers if a.status == 503)
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-enginehouse-queue-position"] == "2"


@pytest.mark.parametrize(
    ("headers", "how", "code"),
    [
        ({"x_request_timeout": "2"}, {"chunks": [5.0, WHOLE]}, "upstream_timeout"),
        ({"x_request_timeout": "2"}, {"chunks": [WHOLE], "load_seconds": 5}, "load_timeout"),
    ],
)
def test_the_callers_patience_ends_in_the_right_error(headers, how, code):
    async def main():
        async with open_door(**how) as door:
            answer = await door.post(CHAT, HELLO, **headers)
            assert answer.status == 504
            assert answer.json()["error"]["code"] == code

    simulate(main())


@with_door(chunks=[TEXT, 10.0, DONE])
async def test_patience_is_for_the_first_byte_of_a_stream(door):
    answer = await door.post(CHAT, STREAM, x_request_timeout="2")
    assert answer.chunks[-1] == DONE


def test_a_stream_that_the_service_cuts_off_says_so():
    async def main():
        async with open_door([TEXT, 1000.0, DONE]) as door:
            asking = door.caller("POST", CHAT, STREAM)
            running = asyncio.ensure_future(asking.run())
            await asyncio.sleep(1)
            running.cancel()
            await asyncio.wait([running])
            assert json.loads(asking.answer.events()[-1])["error"]["code"] == "shutting_down"
            (record,) = door.books.kept.values()
            assert (record.outcome, record.output_tokens, record.estimated) == ("cancelled", 1, True)

    simulate(main())


BAD = [
    (b"{", None),
    (b"", None),
    (b"\xff\xfe", None),
    (b"[]", None),
    (b"null", None),
    (b"[" * 100_000, None),
    ({}, "model"),
    ({"model": "tiny"}, "messages"),
    ({**HELLO, "model": 5}, "model"),
    ({**HELLO, "messages": "hi"}, "messages"),
    ({**HELLO, "messages": []}, "messages"),
    ({**HELLO, "messages": [{"content": "hi"}]}, "messages[0].role"),
    ({**HELLO, "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({**HELLO, "temperature": "hot"}, "temperature"),
    ({**HELLO, "temperature": 2.5}, "temperature"),
    ({**HELLO, "max_tokens": -1}, "max_tokens"),
    ({**HELLO, "max_tokens": 1.5}, "max_tokens"),
    ({**HELLO, "stream": "yes"}, "stream"),
    ({**HELLO, "tools": {}}, "tools"),
    ({**HELLO, "n": 0}, "n"),
    ({**HELLO, "top_p": 2}, "top_p"),
    ({**HELLO, "model": "vec"}, "model"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_bad_input_is_400_and_names_the_field(body, param):
    async def main():
        async with open_door([WHOLE]) as door:
            answer = await door.post(CHAT, body)
            assert answer.status == 400, answer.body
            error = answer.json()["error"]
            assert (error["type"], error["param"]) == ("invalid_request_error", param)
            assert not door.engine.calls
            assert (await door.post(CHAT, HELLO)).status == 200

    simulate(main())


@pytest.mark.parametrize(
    ("header", "value"),
    [("x_request_priority", "urgent"), ("x_request_timeout", "-1"), ("x_request_timeout", "nan")],
)
def test_bad_controls_are_400(header, value):
    async def main():
        async with open_door([WHOLE]) as door:
            answer = await door.post(CHAT, HELLO, **{header: value})
            assert answer.status == 400
            assert answer.json()["error"]["param"].lower() == header.replace("_", "-")

    simulate(main())


@with_door(chunks=[WHOLE])
async def test_an_unknown_model_is_404_with_near_matches(door):
    answer = await door.post(CHAT, {**HELLO, "model": "tinny"})
    assert answer.status == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "'tiny'" in error["message"]


ENGINE_ERRORS = [
    (400, {"error": {"message": "bad grammar", "type": "invalid_request_error"}}, 400, "invalid_request_error"),
    (
        400,
        {"error": {"code": 400, "message": "too long", "n_prompt_tokens": 9000, "n_ctx": 2048}},
        400,
        "context_length_exceeded",
    ),
    (500, {"error": {"code": 500, "message": "Failed to parse tools: no"}}, 400, "invalid_request_error"),
    (500, {"error": {"code": 500, "message": "boom"}}, 502, "upstream_error"),
    (401, {"error": {"message": "our key is wrong"}}, 502, "upstream_error"),
    (503, {"error": "busy"}, 502, "upstream_error"),
    (429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, 429, "slow_down"),
    (429, {"error": {"message": "no money", "code": "insufficient_quota"}}, 502, "upstream_error"),
    (429, {"error": {"message": "no money", "type": "insufficient_quota"}}, 502, "upstream_error"),
]


@pytest.mark.parametrize(("status", "body", "ours", "code"), ENGINE_ERRORS)
@pytest.mark.parametrize("stream", [True, False])
def test_an_engines_refusal_is_translated_once(status, body, ours, code, stream):
    async def main():
        async with open_door([json.dumps(body).encode()], status=status) as door:
            answer = await door.post(CHAT, STREAM if stream else HELLO)
            assert (answer.status, answer.json()["error"]["code"]) == (ours, code)

    simulate(main())


@with_door(chunks=[json.dumps(ENGINE_ERRORS[1][1]).encode()], status=400)
async def test_a_prompt_over_the_context_tells_both_numbers(door):
    message = (await door.post(CHAT, HELLO)).json()["error"]["message"]
    assert "9000" in message
    assert "2048" in message


@with_door()
async def test_a_body_over_the_limit_is_413(door):
    answer = await door.post(CHAT, b"x" * (10 * 1024 * 1024 + 1))
    assert answer.status == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("given", "count"), [("four", 1), (["four", "fives"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)]
)
def test_embeddings_take_all_four_spellings(given, count):
    async def main():
        async with open_door() as door:
            answer = await door.post("/v1/embeddings", {"model": "vec", "input": given})
            body = answer.json()
            assert answer.status == 200
            assert [item["index"] for item in body["data"]] == list(range(count))
            assert body["object"] == "list"
            assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0

    simulate(main())


@with_door()
async def test_base64_vectors_hold_the_same_numbers(door):
    plain = (await door.post("/v1/embeddings", {"model": "vec", "input": "four"})).json()
    coded = (
        await door.post("/v1/embeddings", {"model": "vec", "input": "four", "encoding_format": "base64"})
    ).json()
    numbers = struct.unpack("<2f", base64.b64decode(coded["data"][0]["embedding"]))
    assert numbers == pytest.approx(plain["data"][0]["embedding"])


@with_door()
async def test_fewer_dimensions_are_scaled_to_unit_length(door):
    body = (await door.post("/v1/embeddings", {"model": "vec", "input": "four", "dimensions": 1})).json()
    assert body["data"][0]["embedding"] == [1.0]
    refused = await door.post("/v1/embeddings", {"model": "vec", "input": "four", "dimensions": 3})
    assert refused.json()["error"]["param"] == "dimensions"


@pytest.mark.parametrize("given", [[], "", [""], [[]], ["a", 1], {"a": 1}, None, [1.5]])
def test_bad_embedding_input_names_the_field(given):
    async def main():
        async with open_door() as door:
            answer = await door.post("/v1/embeddings", {"model": "vec", "input": given})
            assert answer.status == 400
            assert answer.json()["error"]["param"].startswith("input")

    simulate(main())
