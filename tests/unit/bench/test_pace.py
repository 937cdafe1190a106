"""A paced answer stops for a slow reader and for one who left, and ends once."""

import asyncio

from bench.mock.manner import Manner
from bench.mock.pace import Paced


class Reader:
    """Takes what an answer writes, and how it ends."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.end: list[bytes] = []

    def paced(self, count: int) -> Paced:
        return Paced(self.pieces.append, self.end.append, iter([b"x"] * count), b"last", Manner())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_pieces_then_the_end():
    reader = Reader()
    reader.paced(3)
    await turns(20)
    assert reader.pieces == [b"x"] * 3
    assert reader.end == [b"last"]


async def test_a_slow_reader_gets_the_rest_later():
    reader = Reader()
    paced = reader.paced(3)
    paced.pause()
    await turns(20)
    assert reader.pieces == []
    paced.resume()
    await turns(20)
    assert reader.pieces == [b"x"] * 3
    assert reader.end == [b"last"]


async def test_a_pause_that_ends_at_once_doubles_nothing():
    reader = Reader()
    paced = reader.paced(3)
    paced.pause()
    paced.resume()
    await turns(20)
    assert reader.pieces == [b"x"] * 3
    assert reader.end == [b"last"]


async def test_nothing_is_written_for_a_reader_who_left():
    reader = Reader()
    reader.paced(3).cancel()
    await turns(20)
    assert reader.pieces == []
    assert reader.end == []
