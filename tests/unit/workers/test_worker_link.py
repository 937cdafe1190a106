"""Calls between a worker and the owner: answered, refused, held, cancelled, cut off, and asked again."""

import asyncio

import msgspec
import pytest

from enginehouse import errors
from enginehouse.app.workers.desk import Desk
from enginehouse.app.workers.frames import packed, packed_error, unpacked_error
from enginehouse.app.workers.link import Link
from enginehouse.errors import EnginehouseError, ModelNotFound, QueueFull, RateLimitExceeded, SchemaValidationFailed
from tests.unit.workers.desks import linked, until


class Serving:
    """Does what it is asked by the word, and remembers."""

    def __init__(self):
        self.held = 0
        self.left = []
        self.heard = []
        self.there = 0

    async def serve(self, call, word, body):
        match word:
            case "echo":
                call.answer(msgspec.msgpack.decode(body))
            case "refuse":
                raise QueueFull("Too many.", position=7, retry_after=3)
            case "break":
                raise ZeroDivisionError
            case "hold":
                await self._hold(call)
            case "never":
                call.news("still not")
                await asyncio.Event().wait()

    async def _hold(self, call):
        self.held += 1
        try:
            call.answer(self.held)
            self.left.append(msgspec.msgpack.decode(await call.left()))
        finally:
            self.held -= 1

    def told(self, caller, word, body):
        self.heard.append((word, msgspec.msgpack.decode(body)))

    def came(self, caller):
        self.there += 1

    async def gone(self, caller):
        self.there -= 1


@pytest.fixture
def serving():
    return Serving()


@pytest.fixture
async def link(tmp_path, serving):
    async with linked(tmp_path, serving) as (_, (one,)):
        yield one


async def test_many_calls_at_once_get_their_own_answers(link):
    answers = await asyncio.gather(*(link.ask("echo", "x" * number) for number in range(200)))
    assert [len(msgspec.msgpack.decode(answer)) for answer in answers] == list(range(200))


async def test_a_frame_of_a_megabyte_arrives_whole(link):
    assert len(await link.ask("echo", b"x" * 1_000_000)) > 1_000_000


async def test_an_error_is_the_same_error_here(link):
    with pytest.raises(QueueFull, match="Too many") as caught:
        await link.ask("refuse", None)
    assert (caught.value.position, caught.value.retry_after) == (7, 3)


async def test_what_breaks_there_is_an_error_here_and_nothing_else_breaks(link):
    with pytest.raises(EnginehouseError, match="its log says more"):
        await link.ask("break", None)
    assert msgspec.msgpack.decode(await link.ask("echo", 1)) == 1


async def test_what_is_held_is_held_until_it_is_left(link, serving):
    held = await link.hold("hold", None)
    assert (msgspec.msgpack.decode(held.answer), serving.held) == (1, 1)
    held.leave("thanks")
    await until(lambda: not serving.held)
    assert serving.left == ["thanks"]


async def test_who_is_cancelled_holds_nothing(link, serving):
    asking = asyncio.ensure_future(link.hold("never", None))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    holding = asyncio.ensure_future(link.hold("hold", None))
    await until(lambda: serving.held)
    holding.cancel()  # with the answer on its way
    await asyncio.wait([holding])
    if not holding.cancelled():
        holding.result().leave()
    await until(lambda: not serving.held)


async def test_news_come_while_one_waits(link):
    news = []
    asking = asyncio.ensure_future(link.hold("never", None, news.append))
    await until(lambda: news)
    asking.cancel()
    assert news == [packed("still not")]


async def test_a_worker_that_goes_leaves_nothing(tmp_path, serving):
    async with linked(tmp_path, serving, 2) as (_, (first, second)):
        for one in (first, first, second):
            await one.hold("hold", None)
        assert serving.held == 3
        first._line.hang_up()
        await until(lambda: serving.held == 1)
        await until(lambda: serving.there == 2)  # it has come again


async def test_what_is_told_is_heard_in_order(link, serving):
    for number in range(100):
        link.tell("note", number)
    await link.ask("echo", None)
    assert serving.heard == [("note", number) for number in range(100)]


async def test_an_owner_that_begins_anew_is_asked_again(tmp_path, serving):
    async with Link(tmp_path / "desk") as link:
        asking = asyncio.ensure_future(link.ask("echo", "early"))
        async with Desk(tmp_path / "desk", serving):
            assert msgspec.msgpack.decode(await asking) == "early"
            waiting = asyncio.ensure_future(link.ask("never", None))
            await asyncio.sleep(0.01)
        assert not waiting.done()
        fresh = Serving()
        fresh.serve = lambda call, word, body: _answered(call)
        async with Desk(tmp_path / "desk", fresh):
            assert msgspec.msgpack.decode(await waiting) == "anew"
        assert link.lives == 2


async def _answered(call):
    call.answer("anew")


async def test_a_change_is_seen_by_all_before_it_is_told(tmp_path, serving):
    seen = []

    async def look(_):
        await asyncio.sleep(0.02)
        seen.append("looked")

    async with (
        Desk(tmp_path / "desk", serving) as desk,
        Link(tmp_path / "desk", {"look": look}),
        Link(tmp_path / "desk", {"look": look}),
    ):
        await until(lambda: len(desk) == 2)
        await desk.look()
        assert seen == ["looked"] * 2


async def test_who_does_not_look_is_not_waited_for(tmp_path, serving):
    async def hang(_):
        await asyncio.Event().wait()

    async with Desk(tmp_path / "desk", serving) as desk, Link(tmp_path / "desk", {"look": hang}):
        await until(lambda: len(desk) == 1)
        began = asyncio.get_running_loop().time()
        await desk.look()
        assert 0.4 < asyncio.get_running_loop().time() - began < 2


async def test_a_worker_that_goes_while_it_looks_is_not_waited_for(tmp_path, serving):
    async def hang(_):
        await asyncio.Event().wait()

    async with Desk(tmp_path / "desk", serving) as desk:
        async with Link(tmp_path / "desk", {"look": hang}):
            await until(lambda: len(desk) == 1)
            looking = asyncio.ensure_future(desk.look())
            await asyncio.sleep(0.01)
        async with asyncio.timeout(0.3):
            await looking
        await desk.deserted(5)
        assert len(desk) == 0


MADE = {
    "ModelNotFound": ModelNotFound("m", ["n"]),
    "QueueFull": QueueFull("Full.", position=3, retry_after=1.5),
    "RateLimitExceeded": RateLimitExceeded("Slow.", told=(("a", "1"),), retry_after=2),
    "SchemaValidationFailed": SchemaValidationFailed("No.", flaws=[("/a", "is missing")], raw="{}", attempts=2),
}


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name not in MADE])
def test_every_error_can_be_sent(name):
    same(getattr(errors, name)("What is wrong.", retry_after=1))


@pytest.mark.parametrize("error", MADE.values(), ids=MADE)
def test_errors_with_more_to_say_say_it(error):
    same(error)


def same(error):
    made = unpacked_error(packed_error(error))
    assert type(made) is type(error)
    assert msgspec.to_builtins(vars(made)) == msgspec.to_builtins({k: _listed(v) for k, v in vars(error).items()})
    assert str(made) == str(error)


def _listed(value):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))
