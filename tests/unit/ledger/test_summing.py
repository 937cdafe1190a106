"""The side task that brings sums up to date: when it does, how long it goes on, and what does not stop it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from enginehouse.core.ledger.summing import Summing
from enginehouse.errors import StoreUnavailable
from enginehouse.testing import simulate


class Books:
    """Says what it is told to, one thing a call, and then that nothing is left; notes when it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []
        self.meanwhile = lambda: None

    async def sum_up(self):
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        self.meanwhile()
        answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, Exception):
            raise answer
        return answer


def times(*answers, want=(), meanwhile=None):
    """When the books were asked within a hundred seconds."""

    async def main():
        books = Books(*answers)
        summing = Summing(books)
        books.meanwhile = lambda: meanwhile and meanwhile(summing, books)
        task = asyncio.ensure_future(summing.run())
        for moment in want:
            asyncio.get_running_loop().call_later(moment, summing.want)
        await asyncio.sleep(100)
        task.cancel()
        await asyncio.wait([task])
        began.append(books.asked[0] - 0.5)
        return [round(moment - began[0], 3) for moment in books.asked]

    began = []
    return simulate(main())


def test_what_an_earlier_life_left_is_summed_up_and_then_it_rests():
    assert times() == [0.5]


def test_it_goes_on_as_long_as_more_is_left():
    assert times(True, True, False) == [0.5, 0.5, 0.5]


def test_records_gather_for_half_a_second():
    assert times(want=(10.0, 10.2, 10.4, 20.0)) == [0.5, 10.5, 20.5]


def test_what_comes_while_it_sums_up_is_not_forgotten():
    def meanwhile(summing, books):
        if len(books.asked) == 1:
            summing.want()

    assert times(meanwhile=meanwhile) == [0.5, 1.0]


@pytest.mark.parametrize(("error", "told"), [(StoreUnavailable("away"), 0), (RuntimeError("a mistake of ours"), 1)])
def test_an_error_is_tried_again_without_being_asked(error, told):
    with capture_logs() as logs:
        assert times(error, error, False) == [0.5, 6.0, 11.5]
    assert [entry["event"] for entry in logs] == ["ledger_summing_failed"] * told * 2
