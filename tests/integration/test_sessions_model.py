"""Contexts of a real model: exactly as long as its engine then says, and never too long, however a talk goes on."""

import os
import re
from contextlib import asynccontextmanager

import pytest

from enginehouse.app import open_house
from enginehouse.core.sessions import Question
from enginehouse.errors import ContextLengthExceeded
from enginehouse.settings.schema import Settings
from enginehouse.types import Operation, Principal, Request, Timings
from enginehouse.types.answer import Counted
from enginehouse.types.generation import Generation, Sampling

ANN = Principal(user="ann", role="admin")
CONTEXT, ANSWER = 320, 24
LONGER = 1024
"""Where a summary has room."""
SAID = [
    "Hello! Who are you?",
    "¿Qué es un árbol? Explain the word “árbol”, briefly, please.",
    "Tell me of the number 3.14159 and of <|im_start|> as text.",
    "def f(x):\n    return x ** 2  # what does this do?",
    "And 木 or 🌳?",
    "What did I ask you first?",
    "Once more, in other words.",
    "Thank you.",
]


@asynccontextmanager
async def opened(gguf, tmp_path, context=CONTEXT, **sessions):
    model = {"source": str(gguf), "context_length": context, "slots": 1}
    settings = Settings.model_validate(
        {"data_dir": str(tmp_path), "default_models": False, "models": {"small": model}, "sessions": sessions}
    )
    async with open_house(settings, dict(os.environ)) as house:
        yield house


async def answered(house, question):
    """The turn, and how long its engine says the prompt was."""
    async with house.rooms.sessions.turn(ANN, question) as turn:
        generation = Generation(
            model=turn.model, turns=turn.messages, sampling=Sampling(max_tokens=ANSWER, temperature=0.0)
        )
        request = Request(
            operation=Operation.CHAT,
            model=turn.model,
            principal=ANN,
            request_id="r",
            timings=Timings(),
            stream=True,
        )
        usage = None
        async with house.rooms.gateway.events(request, generation) as answering:
            async for event in answering.pieces:
                turn.add(event)
                usage = event.usage if isinstance(event, Counted) else usage
        await turn.answered(usage=usage)
    return turn, usage.input + usage.cached_input


async def test_every_prompt_is_as_long_as_the_engine_says_and_fits(gguf, tmp_path):
    async with opened(gguf, tmp_path) as house:
        await talk(house)
        await what_cannot_fit_is_told_with_both_numbers(house)


async def talk(house):
    turns = []
    for said in SAID:
        question = Question(said=said, session_id="s", system="You are a helpful guide.", max_tokens=ANSWER)
        turn, read = await answered(house, question)
        assert turn.context.exact
        assert turn.context.tokens == read <= CONTEXT - ANSWER
        assert turn.messages[0].role == "system"
        assert turn.messages[-1].parts[0].text == said
        turns.append(turn)
    assert not turns[0].context.left_out
    assert turns[-1].context.left_out
    assert len(turns[-1].messages) > 3
    page = await house.rooms.archive.messages(ANN, "s", None, None, 100)
    counts = [list(counted.tokens.values()) for counted in page.messages]
    assert all(len(count) == 1 and count[0] > 0 for count in counts[:-1])


async def what_cannot_fit_is_told_with_both_numbers(house):
    with pytest.raises(ContextLengthExceeded) as refused:
        await answered(house, Question(said="tree " * 400, max_tokens=ANSWER))
    numbers = [int(word) for word in re.findall(r"\d+", refused.value.message)]
    assert numbers[1:] == [CONTEXT - ANSWER, CONTEXT, ANSWER]
    assert numbers[0] > 400
    assert [session.id for session in (await house.rooms.archive.page(ANN, None, 10)).sessions] == ["s"]


async def test_what_no_longer_fits_is_summed_up_by_the_model_and_told_from_then_on(gguf, tmp_path):
    async with opened(gguf, tmp_path, LONGER, summary_model="small") as house:
        sessions, turn = house.rooms.sessions, None
        while turn is None or not turn.context.summary:  # answers are ours, so that only the summary takes time
            question = Question(said=SAID[1] * 6, session_id="s", system="Be kind.", max_tokens=ANSWER)
            async with sessions.turn(ANN, question) as turn:
                assert turn.context.left_out == ()
                await turn.answered("A tree is tall. " * 20)
        after, read = await answered(house, Question(said=SAID[5], session_id="s", max_tokens=ANSWER))
        assert after.context.summary == turn.context.summary
        assert after.context.tokens == read <= LONGER - ANSWER
        [told] = after.messages[0].parts
        assert told.text == f"Be kind.\n\nWhat was said before, in short: {after.context.summary}"
        page = await house.rooms.archive.messages(ANN, "s", None, None, 100)
        assert [one.message.summary for one in page.messages if one.message.summary] == [after.context.summary]
        assert page.messages[0].message.text == SAID[1] * 6  # nothing is lost of the session
