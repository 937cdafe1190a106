"""What waits on the local disk survives, comes back in order, and is whole."""

import asyncio
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.stores.spool import Spool

LIMIT = 10_000


class Clock:
    """Seconds; every look takes some of them."""

    def __init__(self):
        self.now, self.each = 0.0, 0.0

    def __call__(self):
        self.now += self.each
        return self.now


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", LIMIT)


def reborn(spool, folder):
    """The same in the next life of the process."""
    spool.close()
    return Spool(folder, LIMIT)


async def everything(spool):
    lines = []
    while (part := await spool.oldest()) is not None:
        lines += part.lines
        await spool.drop(part)
    return lines


async def test_lines_come_back_in_order_also_in_the_next_life(tmp_path):
    first = Spool(tmp_path, LIMIT)
    await first.append([b"1", b"2"])
    await first.append([b"3"])
    assert first.append_now([b"3a"])
    waiting = first.size
    second = reborn(first, tmp_path)
    assert (second.backlog, second.size) == (4, waiting)
    await second.append([b"4"])
    assert await everything(second) == [b"1", b"2", b"3", b"3a", b"4"]
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
    again = reborn(spool, tmp_path)
    await again.append([b"three"])
    assert await everything(again) == [b"one", b"three"]


async def test_a_damaged_line_costs_no_other(tmp_path):
    spool = Spool(tmp_path, LIMIT)
    await spool.append([b"one", b"two", b"three"])
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"two", b"tow"))
    assert await everything(reborn(spool, tmp_path)) == [b"one", b"three"]


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
    assert reborn(spool, tmp_path).backlog == 0


async def test_a_line_is_with_the_kernel_at_once(spool, tmp_path):
    """No call waits for anything, and who comes after this process finds it."""
    for number in range(3):
        assert spool.append_now([b"%d" % number])
    assert (spool.backlog, spool.size) == (3, 33)
    assert await everything(reborn(spool, tmp_path / "spool")) == [b"0", b"1", b"2"]


async def test_a_file_is_read_while_more_comes_and_goes_when_all_of_it_was(spool, tmp_path):
    spool.append_now([b"one"])
    part = await spool.oldest()
    spool.append_now([b"two"])
    await spool.drop(part)
    assert (part.lines, spool.backlog) == ([b"one"], 1)
    part = await spool.oldest()
    assert part.lines == [b"two"]
    await spool.drop(part)
    assert not list((tmp_path / "spool").glob("*.jsonl"))
    spool.append_now([b"three"])
    assert await everything(spool) == [b"three"]


async def test_more_lines_than_are_kept_in_memory_are_read_from_the_file(tmp_path):
    spool, lines = Spool(tmp_path, 10**6, clock=Clock()), [b"%d" % number for number in range(6000)]
    for line in lines[:10]:
        spool.append_now([line])
    part = await spool.oldest()
    for line in lines[10:]:
        spool.append_now([line])
    await spool.drop(part)
    assert part.lines + await everything(spool) == lines


async def test_what_a_line_stands_for_is_there_as_long_as_this_life_remembers_it(tmp_path):
    """Whoever appended it need not read it; whoever comes next reads the line."""
    spool, meant = Spool(tmp_path, LIMIT, segment=30), object()
    for line, stands_for in ((b"one", meant), (b"two", None), (b"three", meant)):
        assert spool.append_now([line], [line if stands_for is None else stands_for])
    part = await spool.oldest()
    assert [one is meant for one in part.lines] == [True, False, True]
    assert part.lines[1] == b"two"
    assert await everything(reborn(spool, tmp_path)) == [b"one", b"two", b"three"]


async def test_lines_of_a_file_that_were_read_come_again_in_the_next_life(spool, tmp_path):
    """Nobody notes how far a file was read; so whoever takes the lines has to know them again."""
    spool.append_now([b"one"])
    part = await spool.oldest()
    spool.append_now([b"two"])
    await spool.drop(part)
    assert await everything(reborn(spool, tmp_path / "spool")) == [b"one", b"two"]


async def test_a_disk_that_is_full_in_the_midst_of_a_line_costs_no_other(spool):
    spool.append_now([b"one"])
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            spool.append_now([b"x" * 100])
        with pytest.raises(OSError, match="No space left"):
            spool.append_now([b"x" * 100])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert spool.append_now([b"two"])
    assert (spool.backlog, await everything(spool)) == (2, [b"one", b"two"])
    assert (spool.backlog, spool.size) == (0, 0)


async def test_the_loop_does_not_append_while_a_thread_does(spool):
    appending = asyncio.ensure_future(spool.append([b"one"]))
    await asyncio.sleep(0)
    assert not spool.append_now([b"two"])
    await appending
    assert spool.append_now([b"three"])
    assert await everything(spool) == [b"one", b"three"]


async def test_a_slow_disk_is_left_alone_by_the_loop_for_a_while(tmp_path):
    clock = Clock()
    spool = Spool(tmp_path, LIMIT, clock=clock)
    clock.each = 0.005
    kept = [spool.append_now([b"%d" % number]) for number in range(20)]
    at_once = kept.index(False)
    assert 3 < at_once < 12
    assert not any(kept[at_once:])
    clock.each = 0.0
    clock.now += 0.85
    assert not spool.append_now([b"not yet"])
    clock.now += 0.2
    assert spool.append_now([b"again"])
    assert await everything(spool) == [*(b"%d" % number for number in range(at_once)), b"again"]


async def test_an_append_that_took_long_now_and_then_says_nothing_of_the_disk(tmp_path):
    clock = Clock()
    spool = Spool(tmp_path, LIMIT, clock=clock)
    for number in range(20):
        clock.each = 5.0 if number % 10 == 0 else 0.0
        assert spool.append_now([b"x"])


async def test_two_processes_have_a_folder_together_and_lose_nothing(tmp_path):
    one, two = Spool(tmp_path, LIMIT), Spool(tmp_path, LIMIT)
    for number in range(3):
        one.append_now([b"one %d" % number])
        two.append_now([b"two %d" % number])
    assert await everything(two) == [b"two 0", b"two 1", b"two 2"]
    assert one.backlog == 3
    two.append_now([b"two 3"])
    two.close()
    three = Spool(tmp_path, LIMIT)
    assert await everything(three) == [b"two 3"], "what the dead have left, and nothing of the living"
    three.append_now([b"three"])
    one.close()
    three.close()
    assert await everything(Spool(tmp_path, LIMIT)) == [b"one 0", b"one 1", b"one 2", b"three"]


@given(batches=st.lists(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b), max_size=4), max_size=6))
async def test_any_lines_come_back_as_they_were(tmp_path_factory, batches):
    spool = Spool(tmp_path_factory.mktemp("spool"), LIMIT, segment=40)
    for lines in batches:
        await spool.append(lines)
    assert await everything(spool) == [line for lines in batches for line in lines]
