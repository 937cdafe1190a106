"""The gateway lets each record keep a digest of what was asked, by which repeats are told."""

import asyncio

import msgspec

from enginehouse.core.gateway import Gateway
from enginehouse.core.ledger.digests import Digests
from enginehouse.testing import WHOLE, FakeBooks, FakeEmbedder, FakeEngine, FakeLauncher
from enginehouse.types import EngineName, Operation
from enginehouse.types.generation import Generation, Role, Text, Turn
from tests.unit.core.way import BODY, answer, open_gateway, request, wording

MODELS = {
    "m": {"base_url": "http://127.0.0.1:9"},
    "vec": {"engine": "onnx", "source": "/x", "kind": "embedding"},
}


def kept(work, digests):
    """What the records of some work hold, in their order."""
    books = FakeBooks()

    async def main():
        launchers = {
            EngineName.OPENAI: FakeLauncher(FakeEngine([WHOLE]), load_seconds=0),
            EngineName.ONNX: FakeLauncher(FakeEmbedder(), load_seconds=0),
        }
        async with open_gateway(MODELS, launchers, books=books, digests=digests) as gateway:
            await work(gateway)

    asyncio.run(main())
    return [record.digest for record in books.kept.values()]


async def chats(gateway: Gateway):
    for body in (BODY, BODY.replace(b":", b": "), BODY.replace(b"hi", b"ho")):
        await answer(gateway, request(body), wording(body))


async def vectors(gateway: Gateway):
    for texts in (["a"], ["a"], ["b"]):
        await gateway.embed(
            msgspec.structs.replace(request(b"", model="vec"), operation=Operation.EMBEDDING), texts
        )


def test_the_same_question_has_the_same_digest():
    for work in (chats, vectors):
        one, again, other = kept(work, Digests(b"s", enabled=True))
        assert one == again != other
        assert len(one) == len(other) == 32


def test_switched_off_nothing_is_kept():
    assert kept(chats, Digests(b"s", enabled=False)) == ["", "", ""]
    assert kept(chats, None) == ["", "", ""]


def test_what_is_asked_in_our_own_words_is_told_too():
    async def asks(gateway: Gateway):
        for words, user in (("hi", "x"), ("hi", "y"), ("ho", "x")):
            turn = Turn(role=Role.USER, parts=(Text(text=words),))
            generation = Generation(model="m", turns=(turn,), user=user)
            async with gateway.events(request(b""), generation) as answering:
                assert [event async for event in answering.pieces]

    one, again, other = kept(asks, Digests(b"s", enabled=True))
    assert one == again != other
