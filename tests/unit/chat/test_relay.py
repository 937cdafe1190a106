"""Answers that are read at another replica than the one that gives them: nothing is missed, nothing told twice."""

import asyncio
from contextlib import asynccontextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.chat.letters import Part, Pull, decode, encode, part_of, put_in
from enginehouse.core.chat.live import LiveAnswer
from enginehouse.errors import UpstreamDied
from enginehouse.testing import simulate
from enginehouse.testing.post import MemoryPost, PostOffice
from tests.unit.chat.house import Speaker, open_house
from tests.unit.chat.test_chat_sockets import names, tokens

WORDS = "a b c d e f g h"
SPOKEN = [(number, f"{word} ") for number, word in enumerate(WORDS.split())]


class Two:
    """Two replicas of one service."""

    def __init__(self, office, a, b):
        self.office, self.a, self.b = office, a, b
        self.letters = []

    async def asked_at_a(self, prompt=WORDS, *, read=2):
        """A socket that read some words of an answer, and has gone."""
        socket = self.a.socket()
        socket.say("stream_chat", session_id="s", prompt=prompt, request_id="r")
        await socket.hears("stream_token", read)
        socket.leave()
        await socket.task

    def at_b(self, user="ann", **attach):
        socket = self.b.socket(user)
        if attach:
            socket.say("attach", request_id="r", **attach)
        return socket


def two(pause=1.0, **options):
    """A test that takes two replicas, on the simulated clock."""

    def decorate(test):
        @asynccontextmanager
        async def opened():
            office = PostOffice()
            posts = MemoryPost(office, "a"), MemoryPost(office, "b")
            speaker = Speaker(pause, **options.pop("speaker", {}))
            async with (
                open_house(speaker, post=posts[0], **options) as a,
                open_house(post=posts[1], **options) as b,
            ):
                both = Two(office, a, b)
                both.posts = posts
                yield both

        async def main():
            async with opened() as both:
                await test(both)

        def run():
            simulate(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


async def idle(house):
    """Seconds until nothing is generated there any more, and what was is kept."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while house.engine.running or house.said()[-1][1] == "running":  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)
    return clock() - began


@two()
async def test_who_comes_back_elsewhere_reads_on(both):
    await both.asked_at_a()
    socket = both.at_b(index=2)
    end = await socket.hears("stream_end")
    assert tokens(socket, "r") == SPOKEN[2:]
    assert names(socket)[0] == "stream_start"
    started = socket.heard[0][1]
    assert (started["session_id"], started["model"]) == ("s", "tiny")
    assert started["message_id"] == end["message_id"] == both.a.sessions.messages["s"][-1].id
    assert (end["finish_reason"], end["tokens"], end["usage"]["completion_tokens"]) == ("stop", 8, 8)
    assert both.a.said()[-1] == (f"{WORDS} ", "complete")
    assert both.b.sessions.messages == {}
    socket.leave()


@two(chat={"grace": 5.0})
async def test_a_reader_elsewhere_keeps_it_going_and_one_that_leaves_does_not(both):
    await both.asked_at_a(" ".join(["w"] * 60))
    reader = both.at_b(index=0)
    await reader.hears("stream_token", 20)  # far beyond the grace
    assert both.a.engine.running == 1
    reader.leave()
    assert 4.9 < await idle(both.a) < 7
    assert both.a.said()[-1][1] == "interrupted"


@two(chat={"grace": 5.0})
async def test_a_replica_that_dies_while_it_reads_is_not_waited_for(both):
    await both.asked_at_a(" ".join(["w"] * 100))
    reader = both.at_b(index=0)
    await reader.hears("stream_token", 10)
    both.posts[1].die()
    assert 15 < await idle(both.a) < 25
    reader.leave()


@two()
async def test_who_reads_where_it_is_given_dies_with_it_and_is_told(both):
    await both.asked_at_a(" ".join(["w"] * 100))
    reader = both.at_b(index=0)
    await reader.hears("stream_token", 3)
    both.posts[0].die()
    assert (await reader.hears("error"))["code"] == "upstream_died"
    late = both.at_b(index=0)
    assert (await late.hears("error"))["code"] == "not_found"
    reader.leave()
    late.leave()


@two()
async def test_it_is_stopped_from_elsewhere_by_its_reader_and_by_its_name(both):
    for attached in (True, False):
        await both.asked_at_a()
        socket = both.at_b(**({"index": 0} if attached else {}))
        if attached:
            await socket.hears("stream_token", 2)
        socket.say("stop_generation", **({} if attached else {"request_id": "r"}))
        assert await idle(both.a) < 1
        if attached:
            stopped = await socket.hears("stopped")
            assert (stopped["tokens"], tokens(socket, "r")) == (
                len(tokens(socket, "r")),
                SPOKEN[: stopped["tokens"]],
            )
        assert both.a.said()[-1][1] == "stopped"
        socket.leave()
        await asyncio.sleep(60)  # its name is forgotten


@two()
async def test_it_is_found_for_a_while_after_its_end_and_then_no_more(both):
    socket = both.a.socket()
    socket.say("stream_chat", session_id="s", prompt="a b", request_id="r")
    await socket.hears("stream_end")
    socket.leave()
    await asyncio.sleep(20)
    late = both.at_b(index=1)
    assert (await late.hears("stream_end"))["tokens"] == 2
    assert tokens(late, "r") == [(1, "b ")]
    await asyncio.sleep(20)
    late.say("attach", request_id="r", index=1)
    assert (await late.hears("error"))["code"] == "not_found"
    late.leave()


@two()
async def test_nobody_else_finds_it_and_no_place_that_is_not_there(both):
    await both.asked_at_a()
    stranger, owner = both.at_b("bob", index=0), both.at_b(index=7)
    assert (await stranger.hears("error"))["code"] == "not_found"
    stranger.say("stop_generation", request_id="r")
    assert (await stranger.hears("error", 2))["code"] == "not_found"
    refused = await owner.hears("error")
    assert (refused["param"], refused["message"]) == ("index", "index is 7; the answer has 2 tokens so far.")
    assert both.a.engine.running == 1
    stranger.leave()
    owner.leave()


@two()
async def test_a_name_is_taken_on_every_replica_until_its_answer_has_ended(both):
    await both.asked_at_a()
    socket = both.b.socket()
    socket.say("stream_chat", session_id="s", prompt="x", request_id="r")
    assert (await socket.hears("error"))["code"] == "conflict"
    socket.say("attach", request_id="r", index=0)  # which is still that of the first replica
    assert (await socket.hears("stream_end"))["tokens"] == 8
    socket.say("stream_chat", session_id="s", prompt="x", request_id="r")
    assert (await socket.hears("stream_end", 2))["tokens"] == 1
    assert len(both.b.records()) == 1
    socket.leave()


@two(speaker={"failure": UpstreamDied("gone", retry_after=3), "after": 4})
async def test_an_answer_that_fails_says_so_elsewhere(both):
    await both.asked_at_a()
    socket = both.at_b(index=0)
    error = await socket.hears("error")
    assert (error["code"], error["message"], error["retry_after"]) == ("upstream_died", "gone", 3)
    assert tokens(socket, "r") == SPOKEN[:4]
    socket.leave()


@two()
async def test_its_place_in_the_line_is_told_elsewhere(both):
    first, second = both.a.socket(), both.a.socket()
    first.say("stream_chat", session_id="s", prompt="a b c", request_id="first")
    await first.hears("stream_start")
    second.say("stream_chat", session_id="t", prompt="a", request_id="r")
    await second.hears("queued")
    second.leave()
    reader = both.at_b(index=0)
    await reader.hears("stream_end")
    assert names(reader) == ["queued", "stream_start", "stream_token", "stream_end"]
    first.leave()
    reader.leave()


@two()
async def test_letters_that_are_lost_are_asked_for_again(both):
    await both.asked_at_a()
    kept = []

    def lost(letter):
        kept.append(letter)
        return len(kept) % 5 in {2, 4}

    both.office.lost = lost
    socket = both.at_b(index=0)
    await socket.hears("stream_end")
    assert tokens(socket, "r") == SPOKEN
    assert any(isinstance(decode(letter), Part) for letter in kept)
    socket.leave()


@two()
async def test_without_the_post_answers_are_given_and_what_is_elsewhere_is_not_found(both):
    for post in both.posts:
        post.up = False
    await both.asked_at_a()
    here, there = both.a.socket(), both.at_b(index=0)
    here.say("attach", request_id="r", index=2)
    assert (await there.hears("error"))["code"] == "store_unavailable"
    assert (await here.hears("stream_end"))["tokens"] == 8
    here.leave()
    there.leave()


@two()
async def test_a_post_that_comes_back_in_time_loses_nothing(both):
    await both.asked_at_a(" ".join(["w"] * 30))
    socket = both.at_b(index=0)
    await socket.hears("stream_token", 4)
    both.posts[1].up = False
    await asyncio.sleep(8)
    both.posts[1].up = True
    await socket.hears("stream_end")
    assert [index for index, _ in tokens(socket, "r")] == list(range(30))
    socket.leave()


@two()
async def test_what_nobody_understands_is_passed_over(both):
    await both.posts[0].send("b", b"\xc1 from another version")
    await both.asked_at_a()
    socket = both.at_b(index=0)
    await socket.hears("stream_end")
    socket.leave()


def test_a_thousand_chats_of_one_socket_make_no_thousand_copies():
    @two(chat={"max_chats": 2})
    async def scene(both):
        await both.asked_at_a()
        socket = both.at_b()
        for number in range(2):
            socket.say("stream_chat", session_id=f"{number}", prompt="a b", request_id=f"{number}")
        socket.say("attach", request_id="r")
        assert (await socket.hears("error"))["code"] == "rate_limit_exceeded"
        socket.leave()

    scene()


@two(pause=0.01)
async def test_a_long_answer_comes_in_parts_and_is_all_there_at_once(both):
    await both.asked_at_a(" ".join(["w"] * 700), read=600)
    socket = both.at_b(index=590)
    await socket.hears("stream_end")
    assert [index for index, _ in tokens(socket, "r")] == list(range(590, 700))
    socket.leave()


@settings(max_examples=50)
@given(st.lists(st.integers(1, 100_000), max_size=6), st.integers(0, 1000))
def test_parts_are_bounded_and_make_the_whole(sizes, short):
    tokens = [*("x" * size for size in sizes), *["y"] * short]
    source, copy = LiveAnswer("r", 1), LiveAnswer("r", 1)
    for token in tokens:
        source.add(token)
    rounds = 0
    while len(copy.words) < len(source.words):
        pull = Pull(name=("", "u", "r"), back="b", number=1, loan=1, index=len(copy.words))
        part = decode(encode(part_of(source, pull)))
        assert len(part.tokens) == 1 or sum(map(len, part.tokens)) <= 64 * 1024
        assert part.more == (len(copy.words) + len(part.tokens) < len(source.words))
        put_in(part, copy)
        rounds += 1
    assert copy.words.text == source.words.text
    assert rounds <= len(sizes) + -(-short // 256) + 1
    pull = Pull(name=("", "u", "r"), back="b", number=1, loan=1, index=len(tokens))
    assert part_of(source, pull) is None
    assert not part_of(source, Pull(name=("", "u", "r"), back="b", number=1, loan=1, index=len(tokens) + 1)).known
