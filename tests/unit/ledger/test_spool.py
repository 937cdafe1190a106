"""What waits on the local disk survives, comes back in order, and is whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.stores.spool import Spool

LIMIT = 10_000


async def everything(spool):
    lines = []
    while (part := await spool.oldest()) is not None:
        lines += part[1]
        await spool.drop(part[0])
    return lines


async def test_lines_come_back_in_order_also_in_the_next_life(tmp_path):
    first = Spool(tmp_path, LIMIT)
    await first.append([b"1", b"2"])
    await first.append([b"3"])
    second = Spool(tmp_path, LIMIT)
    assert (second.backlog, second.size) == (3, first.size)
    await second.append([b"4"])
    assert await everything(second) == [b"1", b"2", b"3", b"4"]
    assert (second.backlog, second.size) == (0, 0)
    assert list(tmp_path.glob("*.jsonl")) == []


async def test_long_queues_are_many_files(tmp_path):
    spool = Spool(tmp_path, LIMIT, segment=30)
    for number in range(10):
        await spool.append([b"line %d" % number])
    assert len(list(tmp_path.glob("*.jsonl"))) == 5
    assert await everything(spool) == [b"line %d" % number for number in range(10)]


@pytest.mark.parametrize("cut", range(1, 13))
async def test_a_torn_last_line_is_no_line(tmp_path, cut):
    spool = Spool(tmp_path, LIMIT)
    await spool.append([b"one"])
    await spool.append([b"two"])
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes()[:-cut])
    again = Spool(tmp_path, LIMIT)
    await again.append([b"three"])
    assert await everything(again) == [b"one", b"three"]


async def test_a_damaged_line_costs_no_other(tmp_path):
    spool = Spool(tmp_path, LIMIT)
    await spool.append([b"one", b"two", b"three"])
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"two", b"tow"))
    assert await everything(Spool(tmp_path, LIMIT)) == [b"one", b"three"]


async def test_it_says_when_it_is_full_and_still_takes_what_was_let_in(tmp_path):
    spool = Spool(tmp_path, 40)
    assert not spool.full
    await spool.append([b"x" * 40])
    assert spool.full
    await spool.append([b"y"])
    assert await everything(spool) == [b"x" * 40, b"y"]
    assert not spool.full


async def test_nothing_is_added_behind_an_append_that_failed(tmp_path):
    folder = tmp_path / "spool"
    spool = Spool(folder, LIMIT)
    folder.write_text("in the way")
    with pytest.raises(OSError, match="spool"):
        await spool.append([b"lost"])
    folder.unlink()
    await spool.append([b"kept"])
    assert await everything(spool) == [b"kept"]


async def test_what_nobody_can_take_is_set_aside(tmp_path):
    spool = Spool(tmp_path, LIMIT)
    path = await spool.reject([b"odd"])
    assert path.read_bytes() == b"odd\n"
    assert Spool(tmp_path, LIMIT).backlog == 0


@given(batches=st.lists(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b), max_size=4), max_size=6))
async def test_any_lines_come_back_as_they_were(tmp_path_factory, batches):
    spool = Spool(tmp_path_factory.mktemp("spool"), LIMIT, segment=40)
    for lines in batches:
        await spool.append(lines)
    assert await everything(spool) == [line for lines in batches for line in lines]
