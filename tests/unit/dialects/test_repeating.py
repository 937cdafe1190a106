"""Streams read by what their frames have in common are read as every stream is."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.chat_stream import ChatReader
from enginehouse.dialects.openai.repeating import Pattern, one_by_one
from enginehouse.dialects.passing import Passage
from enginehouse.errors import EnginehouseError
from enginehouse.types.answer import Counted, TextDelta
from enginehouse.types.generation import Dialect

WORDS = st.text(max_size=8) | st.sampled_from(
    ["", '"', "\\", "\n\n", '"content":"x"', '"}]}', "data: ", "\u2028", "ä", "🙂", "\x00", '{"content":', "null"]
)
SHAPES = [
    b'{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":%b}}]}',
    b'{"id":"a","model":"m","choices":[{"index":0,"finish_reason":null,"delta":{"content":%b}}],"usage":null}',
    b'{"id":"a","choices":[{"index":1,"delta":{"content": %b },"logprobs":null}]}',
    b'{"choices":[{"delta":{"role":"assistant","content":%b}}]}',
    b'{"choices":[{"delta":{"content":%b,"content":"last"}}]}',
    b'{"choices":[{"delta":{"content":"first","content":%b}}]}',
    b'{"content":%b,"choices":[{"delta":{"content":"outside"}}]}',
    b'{"x":{"content":%b},"choices":[{"delta":{"content":"beside"}}]}',
    b'{"id":"\\"content\\":\\"x\\"","choices":[{"delta":{"content":%b}}]}',
    b'{"id":%b,"choices":[{"delta":{"content":"in the id"}}]}',
    b'{"choices":[{"delta":{"content":%b,"reasoning_content":"hm"}}]}',
    b'{"choices":[{"delta":{"content":%b}},{"index":1,"delta":{"content":"two"}}]}',
    b'{"choices":[{"delta":{"content":%b},"finish_reason":"stop"}]}',
    b'{"choices":[{"delta":{"content":%b}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
    b'{"choices":[{"delta":{"content":%b},"logprobs":{"content":[{"token":"a","logprob":-1}]}}]}',
    b'{"choices":[{"text":%b,"index":0}]}',
    b'{"choices":[{"text":%b,"delta":{"content":"before the text"}}]}',
    b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":%b}}]}}]}',
    b'{"error":%b}',
    b'{"choices":[{"delta":{"content":%b}}],"error":{"message":"no"}}',
    b'{"choices":[{"delta":{"content":%b',
]
PLAIN = b'data: {"choices":[{"text":"a"}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
UNENDED = b'data: {"choices":[{"delta":{"content":"unended"}}]}\n'
DONE = b"data: [DONE]\n\n"
FIXED = [
    DONE,
    FINISH,
    b": ping\n\n",
    b"\n\n",
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n',
    b'data: {"choices":[{"delta":{"content":null}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\x01"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"b"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\ud800"}}]}\n\n',
    b'data: {"choices":[\ndata: {"delta":{"content":"lines"}}]}\n\n',
    b'event: error\ndata: {"choices":[{"delta":{"content":"named"}}]}\n\n',
    b'event: words\ndata: {"choices":[{"delta":{"content":"named"}}]}\n\n',
    UNENDED,
    b"event: error\n",
]


@st.composite
def frames_of(draw):
    """Frames of one shape mostly, as a stream has them, with others among them."""
    usual = draw(st.sampled_from(SHAPES))
    shapes = st.sampled_from([usual] * 8 + SHAPES)
    framed = st.builds(
        lambda shape, text: b"data: %b\n\n" % shape.replace(b"%b", msgspec.json.encode(text)), shapes, WORDS
    )
    usually = st.builds(lambda text: b"data: %b\n\n" % usual.replace(b"%b", msgspec.json.encode(text)), WORDS)
    return draw(st.lists(st.one_of(usually, usually, usually, framed, st.sampled_from(FIXED)), max_size=12))


def fed(reader, chunks):
    """What it tells, chunk by chunk, and how it ends."""
    told = []
    try:
        for chunk in chunks:
            told += reader.feed(chunk)
    except EnginehouseError as error:
        return told, (type(error), str(error))
    return told, reader.ended


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


@given(frames=frames_of(), sizes=st.lists(st.integers(1, 4), min_size=12, max_size=12))
@example(frames=[PLAIN, PLAIN, FINISH, DONE, PLAIN], sizes=[1, 3] + [1] * 10)  # learnt and ended at once
@example(frames=[PLAIN, PLAIN, UNENDED, PLAIN], sizes=[1, 2] + [1] * 10)  # two lines of one event
@example(frames=[PLAIN, PLAIN, b"event: error\n", PLAIN], sizes=[1, 2] + [1] * 10)  # an error, by its name
def test_frames_in_groups_tell_what_their_bytes_tell(frames, sizes):
    chunks = []
    rest = list(frames)
    for size in sizes:
        chunks.append(b"".join(rest[:size]))
        rest = rest[size:]
    whole, end = fed(ChatReader(), chunks)
    single, expected = fed(ChatReader(), bytewise(b"".join(chunks)))
    assert end == expected
    assert whole == (single if isinstance(end, bool) else single[: len(whole)])


@given(frames=frames_of(), cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_so_do_pieces_of_frames(frames, cuts):
    data = b"".join(frames)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    chunks = [data[start:end] for start, end in pairwise(edges)]
    whole, end = fed(ChatReader(), chunks)
    single, expected = fed(ChatReader(), bytewise(data))
    assert end == expected
    assert whole == (single if isinstance(end, bool) else single[: len(whole)])


def read(data):
    """As a reader reads a frame that is not its first."""
    reader = ChatReader()
    reader.feed(b'data: {"id":"x"}\n\n')
    try:
        return reader.feed(b"data: %b\n\n" % data)
    except EnginehouseError:
        return []


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[2], SHAPES[8], SHAPES[15]])
def test_the_usual_shapes_have_a_pattern(shape):
    choice = 1 if b'"index":1' in shape else 0
    pattern = Pattern.of(shape.replace(b"%b", b'"hi"', 1), choice, read)
    assert pattern is not None
    told = [TextDelta(text="so", choice=choice), TextDelta(text='a\n"b"', choice=choice)]
    frames = [b"data: %b\n\n" % shape.replace(b"%b", text) for text in (b'"so"', b'""', b'"a\\n\\"b\\""')]
    chunk = b"".join(frames)
    assert pattern.choice == choice
    assert list(pattern.texts(chunk)) == [event.text for event in told]
    assert [list(pattern.texts(frame)) for frame in frames] == [["so"], [], ['a\n"b"']]
    for rest in (b"", b"data: [DONE]\n\n"):
        words, behind = pattern.run(chunk + rest)
        assert (one_by_one([words]), behind) == (told, rest)
    assert pattern.texts(b"") is None
    assert pattern.texts(chunk + chunk[:-1]) is None
    assert pattern.texts(chunk[1:]) is None
    assert pattern.texts(chunk.replace(b'"so"', b"17")) is None
    assert pattern.texts(chunk.replace(b'"so"', b'"s\xff"')) is None
    assert pattern.texts(chunk.replace(b'"so"', b'"' + b"s" * 70_000 + b'"')) is None


@pytest.mark.parametrize(
    "inner",
    [b"", b" ", b"17", b'"s\xff"', b'"s\n"', b'"a" "b"', b'"a","b"', b'"a', b'a"', b'a","b', b'"\\ud800"', b'"\\"'],
)
@pytest.mark.parametrize("second", [b'"so"', b'"a', b'a"', b'a","b"', b'","', b""])
def test_what_is_no_string_between_them_is_another_frame(inner, second):
    pattern = Pattern.of(SHAPES[0].replace(b"%b", b'"hi"'), 0, read)
    for strings in ([inner], [inner, second], [second, inner], [b'"so"', inner, second], [inner, inner, inner]):
        chunk = b"".join(b"data: %b\n\n" % SHAPES[0].replace(b"%b", string) for string in strings)
        if strings == [b'"so"']:
            assert pattern.texts(chunk) == ("so",)
        else:
            assert pattern.texts(chunk) is None


def test_what_is_shorter_than_both_its_ends_is_none():
    pattern = Pattern(b"data: {abc", b"abc}\n\n", 0)
    assert pattern.texts(b"data: {abc}\n\n") is None
    assert pattern.texts(b"data: {abcabc}\n\n") is None
    assert list(pattern.texts(b'data: {abc"x"abc}\n\n')) == ["x"]


@pytest.mark.parametrize(
    "shape", [SHAPES[4], SHAPES[5], SHAPES[6], SHAPES[7], SHAPES[10], SHAPES[11], SHAPES[12], SHAPES[13]]
)
def test_what_is_more_than_words_has_none(shape):
    assert Pattern.of(shape.replace(b"%b", b'"hi"'), 0, read) is None


def test_nor_has_what_is_long_or_of_several_lines():
    assert Pattern.of(SHAPES[0].replace(b"%b", b'"' + b"s" * 70_000 + b'"'), 0, read) is None
    assert Pattern.of(SHAPES[0].replace(b"%b", b'"hi"').replace(b",", b",\n"), 0, read) is None


@pytest.mark.parametrize("after", [b"", b': {"x":1}\n\n', b"\n\n"])
def test_frames_that_only_count_are_taken_out_wherever_they_stand(after):
    passage = Passage(Dialect.OPENAI_CHAT, OpenAIChat(), wants_usage=False)
    words = b'data: {"choices":[{"delta":{"content":"\\"usage\\" \\n\\n"}}],"usage":null}\n\n'
    counts = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    assert passage.feed(counts + words + after + counts + counts + words + counts)[0] == words + after + words
    assert passage.feed(words + words)[0] == words + words
    assert passage.feed(counts)[0] == b""


USAGES = [
    *(b'data: {"choices":[],"usage":{"prompt_tokens":3}}\n\n', b'data: {"choices":null,"usage":null}\n\n'),
    *(b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n', b': "usage"\n\n', b": ping\n\n"),
]


@st.composite
def streams_of(draw):
    """A stream that goes well or not, and where it is cut."""
    frames = draw(frames_of()) + draw(st.sampled_from([[], [FINISH], [FINISH, DONE], [FINISH, USAGES[0], DONE]]))
    for usage in draw(st.lists(st.sampled_from(USAGES), max_size=2)):
        frames.insert(draw(st.integers(0, len(frames))), usage)
    if draw(st.booleans()):
        frames = [frame.replace(b"\n", b"\r\n") for frame in frames]
    data = b"".join(frames)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12))
    if draw(st.booleans()):  # between frames only
        ends = [sum(map(len, frames[:at])) for at in range(len(frames) + 1)]
        cuts = [min(ends, key=lambda end, cut=cut: abs(end - cut)) for cut in cuts]
    edges = sorted({0, len(data), *cuts})
    return [data[start:end] for start, end in pairwise(edges)]


class Passed:
    """What a passage makes of chunks, frames of its pattern read by that or fed."""

    def __init__(self, chunks, *, wants_usage, by_pattern):
        passage = Passage(Dialect.OPENAI_CHAT, OpenAIChat(), wants_usage=wants_usage)
        self.bytes, self.events, self.end = b"", [], None
        try:
            for chunk in chunks:
                pattern = passage.pattern if by_pattern else None
                texts = None if pattern is None else pattern.texts(chunk)
                if texts is None:
                    piece, events = passage.feed(chunk)
                else:
                    piece, events = chunk, [TextDelta(text=text, choice=pattern.choice) for text in texts]
                self.bytes += piece
                self.events += events
            self.end = passage.ended or passage.close()
        except EnginehouseError as error:
            self.end = type(error), str(error)


@given(chunks=streams_of(), wants_usage=st.booleans())
def test_frames_that_are_not_fed_come_to_the_same(chunks, wants_usage):
    short = Passed(chunks, wants_usage=wants_usage, by_pattern=True)
    whole = Passed(chunks, wants_usage=wants_usage, by_pattern=False)
    assert short.end == whole.end
    assert short.bytes == whole.bytes
    assert short.events == whole.events


@pytest.mark.parametrize("wants_usage", [False, True])
def test_what_passes_through_is_the_same_bytes_but_for_counts_nobody_wants(wants_usage):
    passage = Passage(Dialect.OPENAI_CHAT, OpenAIChat(), wants_usage=wants_usage)
    words = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
    counts = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    assert passage.pattern is None
    fed = [passage.feed(piece) for piece in (words, words, words * 3, words[:9], words[9:] + end + counts)]
    kept = counts if wants_usage else b""
    assert [piece for piece, _ in fed] == [words, words, words * 3, b"", words + end + kept]
    told = [event for _, events in fed for event in events]
    assert [type(event) for event in told].count(TextDelta) == 6
    assert type(told[-1]) is Counted
    assert passage.feed(b"data: [DONE]\n\n") == (b"data: [DONE]\n\n", [])
    assert passage.ended
    assert passage.feed(words)[1] == []
