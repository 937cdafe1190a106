"""Texts of many callers in common batches."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.onnx.gathering import Gathering
from enginehouse.engines.onnx.workers import Workers
from enginehouse.errors import UpstreamRefused


class Model:
    """Answers each piece with its first id; waits at `gate` when that is closed."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch):
        self.gate.wait(10)
        self.batches.append([len(ids) for ids in batch])
        if any(ids[0] < 0 for ids in batch):
            raise UpstreamRefused("a bad number")
        return [[float(ids[0])] for ids in batch]


@pytest.fixture
async def workers():
    workers = Workers(1)
    yield workers
    await workers.close()


async def test_rows_come_in_the_order_of_the_pieces(workers):
    model = Model()
    pieces = [[number] * (1 + number * 7 % 40) for number in range(100)]
    assert await Gathering(model, workers).rows(pieces) == [[float(number)] for number in range(100)]


async def test_who_is_alone_runs_at_once_and_who_comes_meanwhile_runs_together(workers):
    gathering = Gathering(model := Model(), workers)
    model.gate.clear()
    first = asyncio.create_task(gathering.rows([[0]]))
    await asyncio.sleep(0)
    others = [asyncio.create_task(gathering.rows([[number]])) for number in range(1, 9)]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, *others)
    assert model.batches == [[1], [1] * 8]


async def test_only_texts_of_like_length_share_a_batch_and_none_is_too_large(workers):
    model = Model()
    await Gathering(model, workers, tokens=100).rows([[1] * length for length in (2, 90, 3, 40, 2, 45, 200)])
    for batch in model.batches:
        assert len(batch) == 1 or max(batch) * len(batch) <= 100
        assert max(batch) <= min(batch) * 1.25 + 8


async def test_where_short_pieces_cost_as_much_as_long_ones_fewer_share_a_batch(workers):
    model = Model()
    await Gathering(model, workers, tokens=100, width=40).rows([[1] * length for length in (1, 2, 3, 4, 30)])
    assert [len(batch) for batch in model.batches] == [2, 2, 1]


async def test_a_thousand_texts_of_one_do_not_keep_the_one_of_another(workers):
    gathering = Gathering(model := Model(), workers, tokens=64)
    model.gate.clear()
    many = asyncio.create_task(gathering.rows([[number] * 8 for number in range(1000)]))
    await asyncio.sleep(0)
    one = asyncio.create_task(gathering.rows([[7] * 30]))
    await asyncio.sleep(0)
    model.gate.set()
    await one
    done = len(model.batches)
    await many
    assert done < 12 < len(model.batches)


async def test_who_is_cancelled_takes_its_pieces_along(workers):
    gathering = Gathering(model := Model(), workers, tokens=16)
    model.gate.clear()
    gone = asyncio.create_task(gathering.rows([[1] * 16 for _ in range(50)]))  # noqa: RUF006 - held by its name
    await asyncio.sleep(0)
    stays = asyncio.create_task(gathering.rows([[2] * 16]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    assert await stays == [[2.0]]
    assert len(model.batches) == 2


async def test_a_failure_reaches_those_of_its_batch_only(workers):
    gathering = Gathering(Model(), workers)
    with pytest.raises(UpstreamRefused):
        await gathering.rows([[-1], [5], [-1] * 100])
    assert await gathering.rows([[3]]) == [[3.0]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=30), min_size=1, max_size=8))
def test_everybody_gets_their_own_rows(callers):
    async def run():
        workers = Workers(2)
        gathering = Gathering(Model(), workers, at_once=2, tokens=128)
        asked = [
            [[who * 100 + place] * size for place, size in enumerate(sizes)] for who, sizes in enumerate(callers)
        ]
        got = await asyncio.gather(*(gathering.rows(pieces) for pieces in asked))
        assert got == [[[float(ids[0])] for ids in pieces] for pieces in asked]
        await workers.close()

    asyncio.run(run())
