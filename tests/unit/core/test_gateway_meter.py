"""What is recorded of an answer: the engine's own count, else what came of it, marked as an estimate."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.gateway.meter import Meter, guessed_tokens
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.errors import EnginehouseError, InvalidRequest, UpstreamDied, UpstreamRefused
from enginehouse.testing import WHOLE, FakeBooks, simulate
from enginehouse.types import EngineName, Usage
from enginehouse.types.answer import Counted, Finish, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from enginehouse.types.generation import Generation, Role, Text, ToolCall, ToolResult, Turn
from tests.unit.core.way import BODY, ELSEWHERE, STREAM, Server, Servers, answer, open_gateway, request, wording

WORD = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


def metered(*events, complete=True, prompt=None, guess=90):
    meter = Meter()
    meter.note_all(events)
    meter.complete = complete
    meter.prompt = prompt
    return meter.usage(lambda: guess)


def told(**usage):
    return Counted(usage=Usage(**usage))


def test_the_engines_own_count_wins():
    words = [TextDelta(text="a")] * 9
    assert metered(*words, told(input=5, output=2)) == Usage(input=5, output=2)


def test_nobody_counted():
    words = [ThinkingDelta(text="a"), TextDelta(text="b"), ToolCallDelta(index=0, arguments="{}")]
    expected = Usage(input=90, output=3, estimated=True)
    assert metered(*words, Finished(reason=Finish.STOP)) == expected


def test_an_answer_that_broke_off_is_as_long_as_its_pieces():
    words = [TextDelta(text="a")] * 9
    assert metered(*words, complete=False) == Usage(input=90, output=9, estimated=True)
    assert metered(*words, complete=False, prompt=4) == Usage(input=4, output=9, estimated=True)
    assert metered(told(input=5, output=1), *words, complete=False) == Usage(input=5, output=9, estimated=True)
    assert metered(told(input=5, output=20), *words, complete=False) == Usage(input=5, output=20, estimated=True)
    cached = metered(told(cached_input=5, reasoning=2, output=1), *words, complete=False)
    assert cached == Usage(cached_input=5, reasoning=2, output=7, estimated=True)


@given(st.lists(st.sampled_from([TextDelta(text="a"), told(input=5, output=2), told(input=5, output=8)])))
def test_what_is_estimated_never_shrinks(events):
    totals = [metered(*events[:count], complete=False).output for count in range(len(events) + 1)]
    latest = [event.usage.output for event in events if isinstance(event, Counted)]
    if latest == sorted(latest):
        assert totals == sorted(totals)


def test_a_prompt_has_about_a_token_for_four_characters():
    parts = (Text(text="a" * 9), ToolCall(id="1", name="f", arguments="b" * 4))
    result = ToolResult(call_id="1", parts=(Text(text="c" * 4),))
    turns = (Turn(role=Role.USER, parts=parts), Turn(role=Role.TOOL, parts=(result,)))
    assert guessed_tokens(Generation(model="m", turns=turns)) == 5
    assert guessed_tokens(Generation(model="m")) == 0


def recorded(turn, body=STREAM, *, leave_after=None, wants_usage=False):
    """The one record of a request."""
    books = FakeBooks()
    server = Server(turn)
    asked = request(body, stream=body is STREAM)

    async def ask(gateway):
        words = wording(body, wants_usage=wants_usage)
        if leave_after is None:
            await answer(gateway, asked, words)
            return
        async with asyncio.timeout(leave_after):
            await answer(gateway, asked, words)

    async def main():
        launchers = {EngineName.OPENAI: Servers(m=server)}
        async with open_gateway({"m": ELSEWHERE}, launchers, books=books, retries=0) as gateway:
            with suppress(EnginehouseError, TimeoutError):
                await ask(gateway)

    simulate(main())
    (record,) = books.kept.values()
    return record


def figures(record):
    return record.outcome, record.input_tokens, record.output_tokens, record.estimated


@pytest.mark.parametrize("end", [[USAGE, DONE], [USAGE + DONE], [USAGE]])
def test_a_stream_is_recorded_as_the_engine_counted(end):
    assert figures(recorded([WORD, WORD, END, *end])) == ("completed", 7, 3, False)


def test_a_whole_answer_is_recorded_as_the_engine_counted():
    assert figures(recorded([WHOLE], BODY)) == ("completed", 3, 1, False)


def test_a_stream_that_its_caller_left_is_recorded_with_what_was_generated():
    record = recorded([WORD, WORD, 60.0, END, USAGE, DONE], leave_after=1)
    assert figures(record) == ("cancelled", 1, 2, True)


def test_an_answer_nobody_has_seen_a_word_of_has_a_prompt():
    assert figures(recorded([60.0, WHOLE], BODY, leave_after=1)) == ("cancelled", 1, 0, True)


def test_a_stream_that_broke_is_recorded_with_what_was_generated():
    assert figures(recorded([WORD, WORD, UpstreamDied("gone")])) == ("failed", 1, 2, True)


@pytest.mark.parametrize("error", [UpstreamDied("no"), UpstreamRefused("no", status=500), InvalidRequest("no")])
def test_what_was_refused_costs_nothing(error):
    assert figures(recorded(error)) == ("failed", 0, 0, False)


def test_the_caller_hears_the_tokens_only_when_it_asks():
    def heard(wants_usage):
        async def main():
            launchers = {EngineName.OPENAI: Servers(m=Server([WORD, END, USAGE, DONE]))}
            async with open_gateway({"m": ELSEWHERE}, launchers) as gateway:
                words = wording(STREAM, wants_usage=wants_usage, codec=OpenAIChat())
                return await answer(gateway, request(STREAM, stream=True), words)

        return simulate(main())

    assert heard(wants_usage=True) == WORD + END + USAGE + DONE
    assert heard(wants_usage=False) == WORD + END + DONE
