"""One turn of the loop: all requests' steps in their order, each step for all of them."""

import asyncio
from collections.abc import Sequence

from enginehouse.api.fast.turns import (
    HEAR,
    JOURNAL,
    READ,
    RECORD,
    SETTLE,
    STAND,
    Step,
    Turn,
)

NAMES = ("hear", "record", "journal", "tell", "keep", "stand", "settle", "read", "look", "begin")


def steps(done: list[str], **others: Step) -> dict[int, Step]:
    """Each notes what it did for whom, and lets all go on, but for those that do something else."""

    def noted(name: str) -> Step:
        def do(now: Sequence[str]) -> Sequence[str]:
            done.extend(f"{name} {one}" for one in now)
            return now

        return do

    return {number: others.get(name) or noted(name) for number, name in enumerate(NAMES)}


async def test_every_step_is_done_for_all_before_the_next_one_begins():
    done: list[str] = []
    turn = Turn(steps(done))
    turn.at(HEAR, "a")
    turn.at(HEAR, "b")
    assert not done
    await asyncio.sleep(0)
    assert done == [f"{name} {one}" for name in NAMES[:7] for one in "ab"]


async def test_steps_come_in_their_order_however_they_were_asked_for():
    done: list[str] = []
    turn = Turn(steps(done))
    for step, one in ((READ, "c"), (SETTLE, "b"), (STAND, "a")):
        turn.at(step, one)
    await asyncio.sleep(0)
    assert done == ["stand a", "settle b", "settle a", "read c", "look c", "begin c"]


async def test_what_is_asked_for_meanwhile_is_done_in_the_same_turn_be_it_an_earlier_step():
    done: list[str] = []
    turn = Turn(steps(done, begin=lambda now: [turn.at(RECORD, one) for one in now], tell=lambda _: ()))
    turn.at(READ, "a")
    await asyncio.sleep(0)
    assert done == ["read a", "look a", "record a", "journal a"]


async def test_the_next_turn_begins_anew():
    done: list[str] = []
    turn = Turn(steps(done))
    for number in range(3):
        turn.at(SETTLE, str(number))
        await asyncio.sleep(0)
        assert done == [f"settle {one}" for one in range(number + 1)]


async def test_a_step_says_who_goes_on():
    done: list[str] = []
    turn = Turn(steps(done, journal=lambda now: now[1:], tell=lambda now: done.extend(now) or ()))
    for one in "abc":
        turn.at(JOURNAL, one)
    await asyncio.sleep(0)
    assert done == ["b", "c"]
