"""What tallies promise wherever they are kept: unit tests run these in memory, integration tests on Redis.

Each test takes the fixture `tallies`, and `clock`, a list whose last entry is the time in microseconds.
"""

import asyncio

import pytest

from enginehouse.stores.kv import Asked, Seats, Spent, Window

SECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND


class Numbers:
    """Gives every request an id of its own."""

    def __init__(self):
        self.last = 0

    def __call__(self):
        self.last += 1
        return f"r{self.last}"


new_id = Numbers()


def window(key="w", limit=100, seconds=60, need=1, take=1):
    return Window(key=key, limit=limit, seconds=seconds, need=need, take=take)


def asked(*windows, seats=(), id_=None):
    return Asked(id=id_ or new_id(), windows=windows or (window(),), seats=seats)


async def test_of_two_hundred_at_once_a_hundred_pass(tallies):
    answers = await asyncio.gather(*(tallies.take(asked()) for _ in range(200)))
    assert sum(answer.admitted for answer in answers) == 100
    assert max(answer.windows[0].used for answer in answers) == 100
    assert all(answer.windows[0].wait > 0 for answer in answers if not answer.admitted)


async def test_the_wait_is_true_to_the_microsecond(tallies, clock):
    for pause in (0, 7, 11):
        clock.append(clock[-1] + pause * SECOND)
        assert (await tallies.take(asked(window(limit=3)))).admitted
    refused = await tallies.take(asked(window(limit=3)))
    wait = refused.windows[0].wait
    assert 60 * SECOND - 18 * SECOND <= wait <= 61 * SECOND - 18 * SECOND
    began = clock[-1]
    clock.append(began + wait - 1)
    assert not (await tallies.take(asked(window(limit=3)))).admitted
    clock.append(began + wait)
    assert (await tallies.take(asked(window(limit=3)))).admitted


async def test_waiting_for_more_takes_longer(tallies, clock):
    await tallies.take(asked(window(limit=10, take=4)))
    clock.append(clock[-1] + 20 * SECOND)
    await tallies.take(asked(window(limit=10, take=5)))
    waits = [
        (await tallies.take(asked(window(limit=10, need=need, take=0)))).windows[0].wait
        for need in (1, 2, 5, 6, 10)
    ]
    assert waits[0] == 0
    assert waits[1] == waits[2] < waits[3] == waits[4]


async def test_reset_is_when_all_is_free(tallies, clock):
    answer = await tallies.take(asked())
    assert answer.windows[0].used == 1
    clock.append(clock[-1] + answer.windows[0].reset - 1)
    assert (await tallies.take(asked(window(take=0)))).windows[0].used == 1
    clock.append(clock[-1] + 1)
    after = (await tallies.take(asked(window(take=0)))).windows[0]
    assert (after.used, after.reset, after.wait) == (0, 0, 0)


async def test_all_or_nothing(tallies):
    wide, narrow, seat = window("wide"), window("narrow", limit=1), Seats(key="seat", limit=1)
    assert (await tallies.take(asked(narrow))).admitted
    refused = await tallies.take(asked(wide, narrow, seats=(seat,)))
    assert (refused.admitted, [one.used for one in refused.windows], refused.seats) == (False, [0, 1], (0,))
    assert (await tallies.take(asked(wide, seats=(seat,)))).seats == (1,)
    refused = await tallies.take(asked(wide, seats=(seat,)))
    assert (refused.admitted, refused.windows[0].used, refused.seats) == (False, 1, (1,))


async def test_keys_are_apart(tallies):
    for key in ("a", "b", "a:1", "a*", "{a}"):
        assert (await tallies.take(asked(window(key, limit=1)))).admitted


async def test_seats_are_held_until_they_are_given_back(tallies):
    seat = Seats(key="s", limit=3)
    mine = [asked(window(take=0), seats=(seat,)) for _ in range(200)]
    answers = await asyncio.gather(*(tallies.take(one) for one in mine))
    held = [one for one, answer in zip(mine, answers, strict=True) if answer.admitted]
    assert len(held) == 3
    await tallies.settle(Spent(id="stranger", seats=("s",)))
    assert not (await tallies.take(asked(seats=(seat,)))).admitted
    await tallies.settle(Spent(id=held[0].id, seats=("s",)))
    assert (await tallies.take(asked(seats=(seat,)))).admitted
    assert not (await tallies.take(asked(seats=(seat,)))).admitted


async def test_seats_are_not_freed_by_time(tallies, clock):
    seat = Seats(key="s", limit=1)
    assert (await tallies.take(asked(window(take=0), seats=(seat,)))).admitted
    clock.append(clock[-1] + 3600 * SECOND)
    assert not (await tallies.take(asked(window(take=0), seats=(seat,)))).admitted


async def test_what_was_reserved_becomes_what_was_spent(tallies, clock):
    reserved = await tallies.take(asked(window(limit=1000, need=600, take=600)))
    assert not (await tallies.take(asked(window(limit=1000, need=600, take=600)))).admitted
    clock.append(clock[-1] + 5 * SECOND)
    await tallies.settle(Spent(id=new_id(), windows=[("w", 60, reserved.at, 600, 150)]))
    assert (await tallies.take(asked(window(limit=1000, take=0)))).windows[0].used == 150
    clock.append(clock[-1] + 57 * SECOND)
    assert (await tallies.take(asked(window(limit=1000, take=0)))).windows[0].used == 150


async def test_what_was_reserved_long_ago_takes_nothing_back(tallies, clock):
    reserved = await tallies.take(asked(window(limit=1000, take=600)))
    clock.append(clock[-1] + 100 * SECOND)
    await tallies.take(asked(window(limit=1000, take=10)))
    await tallies.settle(Spent(id=new_id(), windows=[("w", 60, reserved.at, 600, 5)]))
    assert (await tallies.take(asked(window(limit=1000, take=0)))).windows[0].used == 15


@pytest.mark.parametrize("seconds", [1, 0.5, 59, 3600, 86_400])
async def test_windows_of_every_length(tallies, clock, seconds):
    one = window(limit=2, seconds=seconds)
    assert [(await tallies.take(asked(one))).admitted for _ in range(3)] == [True, True, False]
    clock.append(clock[-1] + int(seconds * SECOND))
    assert not (await tallies.take(asked(one))).admitted or int(seconds * SECOND) % 60 == 0
    clock.append(clock[-1] + int(seconds * SECOND) // 60 + 1)
    assert (await tallies.take(asked(one))).admitted


async def test_large_numbers_stay_exact(tallies):
    much = 4_000_000_000_000_123
    await tallies.take(asked(window(limit=much, need=1, take=much - 1)))
    assert (await tallies.take(asked(window(limit=much)))).windows[0].used == much
    assert not (await tallies.take(asked(window(limit=much)))).admitted
