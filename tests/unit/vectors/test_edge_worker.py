"""What passes between the service and the process of the index, and in which order."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.errors import Conflict, InvalidRequest, StoreError
from enginehouse.stores.vectors.base import Key
from enginehouse.stores.vectors.edge import messages as m
from enginehouse.stores.vectors.edge.worker import Worker
from tests.vectors import KEY, point


class Recorder:
    """A shelf that notes what it is asked."""

    def __init__(self):
        self.asked, self.copied, self.idle, self.error = [], set(), True, None

    def answer(self, question):
        self.asked.append(type(question).__name__)
        if self.error:
            raise self.error
        return len(self.asked)

    def copying(self, key):
        return key in self.copied

    def tend(self):
        pass


def answers(frames):
    buffer = bytearray(b"".join(frames))
    found = [m.decode_answer(body) for body in m.split(buffer)]
    assert not buffer
    return [(a.number, a.problem or msgspec.msgpack.decode(a.value)) for a in found]


def test_changes_wait_while_a_collection_is_copied_and_keep_their_order():
    shelf = Recorder()
    worker = Worker(shelf)
    shelf.copied = {KEY}
    asks = [m.Upsert(KEY, [point(1)]), m.Count(KEY, None), m.Delete(KEY, [1], None), m.Upsert(Key("a", "b"), [])]
    frames = [frame for number, ask in enumerate(asks) for frame in worker.take(m.Ask(number, ask))]
    assert [number for number, _ in answers(frames)] == [1, 3]
    assert not worker.idle
    assert list(worker.tend()) == []
    shelf.copied = set()
    assert [number for number, _ in answers(worker.tend())] == [0, 2]
    assert shelf.asked == ["Count", "Upsert", "Upsert", "Delete"]
    assert worker.idle


@pytest.mark.parametrize("error", [Conflict("a", param="name"), InvalidRequest("b"), StoreError("c")])
def test_errors_travel(error):
    shelf = Recorder()
    shelf.error = error
    ((number, problem),) = answers(Worker(shelf).take(m.Ask(7, m.Look(KEY))))
    again = problem.error()
    assert (number, type(again), again.message, again.param) == (7, type(error), error.message, error.param)


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 9))
def test_frames_are_found_however_they_come(bodies, step):
    stream = b"".join(m.frame(body) for body in bodies)
    buffer, found = bytearray(), []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        found += m.split(buffer)
    assert [msgspec.msgpack.decode(body) for body in found] == bodies
    assert not buffer
