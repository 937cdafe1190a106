"""What a conversation begins with: the same in each of its turns, and another in every other conversation."""

import json

import pytest

from enginehouse.core.gateway.flows import Continues, Events, Frames
from tests.unit.core.way import request, wording

SYSTEM = {"role": "system", "content": "You are brief."}
FIRST = [SYSTEM, {"role": "user", "content": "Who was Ada?"}]
LATER = [*FIRST, {"role": "assistant", "content": "A mathematician."}, {"role": "user", "content": "When?"}]
TOOL = {"type": "function", "function": {"name": "search"}}


def body(messages, **more):
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


def head(messages, **more):
    said = body(messages, **more)
    return Frames(request(said), wording(said)).head()


def test_it_is_the_same_in_every_turn_however_the_answer_is_asked_for():
    assert head(FIRST) == head(LATER) == head(LATER, stream=True, temperature=1) != b""


def test_faces_with_words_of_their_own_have_the_same():
    said = body(LATER)
    assert Events(request(said), wording(said).generation).head() == head(FIRST)


@pytest.mark.parametrize(
    "other",
    [
        head([{"role": "system", "content": "You are long."}, FIRST[1]]),
        head([SYSTEM, {"role": "user", "content": "Who was Bob?"}]),
        head(FIRST, tools=[TOOL]),
    ],
)
def test_another_system_text_question_or_tool_is_another_conversation(other):
    assert other != head(FIRST)


@pytest.mark.parametrize("messages", [[], [SYSTEM]])
def test_who_has_asked_nothing_has_none(messages):
    assert head(messages) == b""


def test_what_nobody_understands_has_none():
    flow = Frames(request(b"{"), wording(b"{"))
    assert isinstance(flow, Continues)
    assert flow.head() == b""
