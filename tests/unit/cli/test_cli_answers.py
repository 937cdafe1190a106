"""Reading a stream: frames out of chunks, an answer out of frames, and every way it may break."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.cli.addresses import address
from enginehouse.cli.chat.answer import Answer, Figures, Piece, read_chunk
from enginehouse.cli.chat.link import take_chunks
from enginehouse.cli.chat.terminal import figures_line
from enginehouse.cli.console import for_terminal
from enginehouse.cli.service import error_message, payloads, refusal
from enginehouse.errors import MissingCredentials, UpstreamDied, UpstreamRefused
from enginehouse.settings.schema import ServerSettings


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}}


def chunk(content):
    return read_chunk(json.dumps(content).encode())


def frames(*contents, done=True):
    data = [json.dumps(content).encode() for content in contents] + ([b"[DONE]"] if done else [])
    return b"".join(b"data: " + item + b"\n\n" for item in data)


async def cut(data, sizes):
    """The same bytes in chunks of these sizes, and the rest."""
    for size in sizes:
        if data[:size]:
            yield data[:size]
        data = data[size:]
    if data:
        yield data


@given(st.lists(st.text()), st.lists(st.integers(1, 40)))
async def test_the_text_is_the_same_however_the_bytes_arrive(texts, sizes):
    stream = b": ping\n\n" + frames(
        delta(role="assistant", content=None), *(delta(content=t) for t in texts), END, USAGE
    )
    answer, shown = Answer(0.0), []
    await take_chunks(payloads(cut(stream, sizes)), lambda chunk: shown.append(answer.add(chunk, 1.0)))
    assert answer.text == "".join(texts) == "".join(piece.text for piece in shown)
    assert answer.finish_reason == "stop"
    assert answer.figures().tokens == 5


async def test_a_stream_without_its_end_is_broken_whatever_it_said():
    with pytest.raises(UpstreamDied):
        await take_chunks(payloads(cut(frames(delta(content="a"), END, done=False), [])), lambda _: None)


async def test_what_follows_the_end_is_not_read():
    stream = frames(END) + b"data: nonsense\n\n"
    await take_chunks(payloads(cut(stream, [])), lambda _: None)


async def test_an_error_in_the_stream_is_raised_in_the_services_words():
    taken = []
    stream = frames(delta(content="a"), {"error": {"message": "The engine tripped.", "type": "server_error"}})
    with pytest.raises(UpstreamRefused, match="The engine tripped"):
        await take_chunks(payloads(cut(stream, [])), taken.append)
    assert len(taken) == 1


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"choices": 3}', b'{"choices": [{"delta": "text"}]}', b"\xff"])
def test_a_frame_that_is_none_is_told(data):
    with pytest.raises(UpstreamDied):
        read_chunk(data)


def test_frames_of_other_services_are_understood():
    assert chunk({"error": None, "choices": []}).error is None
    assert Answer(0).add(chunk(delta(reasoning="hm")), 0) == Piece(thought="hm")
    assert Answer(0).add(chunk(delta(reasoning_content="hm", content=None)), 0) == Piece(thought="hm")


def test_times_are_taken_at_the_pieces_and_not_at_empty_frames():
    answer = Answer(10.0)
    answer.add(chunk(delta(role="assistant", content="")), 10.5)
    assert not answer.began
    answer.add(chunk(delta(content="a")), 12.0)
    answer.add(chunk(delta(content="b")), 14.0)
    answer.add(chunk(END), 15.0)
    answer.add(chunk(USAGE), 16.0)
    figures = answer.figures()
    assert (figures.ttft, figures.seconds, figures.tokens, figures.counted) == (2.0, 4.0, 5, True)
    assert figures.rate == pytest.approx(4 / 2.0)
    assert figures.prompt_tokens == 9


def test_a_stopped_answer_is_counted_by_its_pieces():
    answer = Answer(0.0)
    for now in (1.0, 2.0, 3.0):
        answer.add(chunk(delta(content="x")), now)
    figures = answer.figures()
    assert (figures.tokens, figures.counted, figures.rate) == (3, False, 1.0)


def test_an_answer_that_never_began_has_no_figures_to_divide_by():
    figures = Answer(5.0).figures()
    assert (figures.tokens, figures.ttft, figures.rate, figures.seconds) == (0, None, None, 0.0)


def test_the_line_below_an_answer():
    figures = Figures(tokens=42, counted=True, prompt_tokens=1, ttft=0.2134, seconds=2, rate=21.06)
    assert figures_line(figures) == "42 tokens · 21.1 tokens/s · first after 0.21 s"
    one = Figures(tokens=1, counted=False, prompt_tokens=None, ttft=None, seconds=0, rate=None)
    assert figures_line(one) == "about 1 token"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "No such model.", "code": "model_not_found"}}', "No such model."),
        (b'{"error": "busy"}', "busy"),
        (b'{"error": {"code": 3}}', "{'code': 3}"),
        (b"Bad Gateway\n", "Bad Gateway"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_errors_in_all_their_shapes(body, message):
    assert error_message(body) == message


def test_a_refusal_always_says_something_and_401_says_what_to_do():
    assert refusal(502, b"").message == "The service answered 502 without a message."
    error = refusal(401, b'{"error": {"message": "This key is not known here."}}')
    assert isinstance(error, MissingCredentials)
    assert "--key" in error.message


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("0.0.0.0", 80, "http://127.0.0.1:80"),
        ("::", 80, "http://[::1]:80"),
        ("box.lan", 80, "http://box.lan:80"),
        ("127.0.0.1", 0, None),
    ],
)
def test_where_a_configured_service_is_reached(host, port, url):
    assert address(ServerSettings(host=host, port=port)) == url


@given(st.text())
def test_nothing_in_an_answer_can_take_over_the_terminal(text):
    shown = for_terminal(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert for_terminal(shown) == shown


def test_letters_of_all_scripts_pass_unchanged():
    assert for_terminal("naïve 日本 👩‍🚀\tx\r\n") == "naïve 日本 👩‍🚀\tx\n"
