"""Words and readers: whatever is written and read in between, a reader is told every token once, in order."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.chat import Failed, LiveAnswer, Started, Token
from enginehouse.core.chat.words import Words
from enginehouse.errors import InvalidRequest, ShuttingDown
from enginehouse.testing import simulate

BEGUN = Started(session_id="s", message_id="m", model="tiny")
END = Failed(error=ShuttingDown("over"))


@given(st.lists(st.text(max_size=5)), st.integers(0, 20), st.integers(0, 20))
def test_words_are_kept_as_they_came(tokens, first, length):
    words = Words()
    for token in tokens:
        words.add(token)
    assert (len(words), words.text, words.size) == (len(tokens), "".join(tokens), len("".join(tokens).encode()))
    first = min(first, len(tokens))
    last = min(first + length, len(tokens))
    assert list(words.between(first, last)) == tokens[first:last]


def test_half_a_character_does_no_harm():
    words = Words()
    words.add("a\ud83d")
    assert words.text == "a?"


@settings(max_examples=25)
@given(st.data())
def test_every_reader_is_told_everything_once_and_in_order(data):
    simulate(_readers(data))


async def _readers(data):
    answer, read, readers = LiveAnswer("r", 30), [], []
    answer.begin(BEGUN)
    tokens = [f"{number} " for number in range(data.draw(st.integers(0, 200)))]
    for token in [*tokens, None]:
        if token is None:
            answer.close(END)
        else:
            answer.add(token)
        if data.draw(st.integers(0, 9)) == 0 or token is None:
            index = data.draw(st.integers(0, len(answer.words)))
            context = answer.read(lambda: None, index=index)
            readers.append((context, context.__enter__(), index, []))
        for _, reader, _, taken in readers:
            if data.draw(st.booleans()):
                taken.extend(reader.take())
    for context, reader, index, taken in readers:
        while not reader.ended:
            taken.extend(reader.take())
        assert reader.take() == []
        assert taken == [BEGUN, *(Token(token, at) for at, token in enumerate(tokens) if at >= index), END]
        context.__exit__(None, None, None)
        read.append(index)


def test_an_index_beyond_the_words_is_refused():
    answer = LiveAnswer("r", 30)
    with pytest.raises(InvalidRequest), answer.read(lambda: None, index=1):
        pass


def test_it_ends_when_nobody_has_read_for_the_grace():
    async def scene():
        answer, clock = LiveAnswer("r", 5.0), asyncio.get_running_loop().time
        scope = asyncio.timeout(None)
        began = clock()
        with suppress(TimeoutError):
            async with scope:
                with answer.writing(scope):
                    await asyncio.sleep(3)
                    with answer.read(lambda: None):
                        await asyncio.sleep(60)
                    await asyncio.sleep(60)
        assert scope.expired()
        assert clock() - began == pytest.approx(68)

    simulate(scene())


def test_a_stop_before_it_has_begun_counts():
    async def scene():
        answer = LiveAnswer("r", 5.0)
        answer.stop()
        scope = asyncio.timeout(None)
        with suppress(TimeoutError):
            async with scope:
                with answer.writing(scope):
                    await asyncio.sleep(1)
        assert scope.expired()
        assert answer.cut == "stopped"

    simulate(scene())
