"""One turn of the loop: all requests' steps in their order, each step for all of them."""

import asyncio
from collections.abc import Callable

from enginehouse.api.fast.turns import (
    BEGIN,
    HEAR,
    JOURNAL,
    KEEP,
    LOOK,
    READ,
    RECORD,
    SETTLE,
    STAND,
    TELL,
    Step,
    Turn,
    each,
)

NAMES = ("hear", "record", "journal", "tell", "keep", "stand", "settle", "read", "look", "begin")


def steps(done: list[str], **others: Step) -> dict[int, Step]:
    """Each notes what it did for whom, and lets all go on, but for those that do something else."""

    def noted(name: str) -> Callable[[str], None]:
        return lambda one: done.append(f"{name} {one}")

    return {number: others.get(name, each(noted(name))) for number, name in enumerate(NAMES)}


async def test_every_step_is_done_for_all_before_the_next_one_begins():
    done: list[str] = []
    turn = Turn(steps(done))
    turn.at(HEAR, "a")
    turn.at(HEAR, "b")
    assert not done
    await asyncio.sleep(0)
    assert done == [f"{name} {one}" for name in ("hear", "record", "journal", "tell") for one in "ab"]


async def test_steps_come_in_their_order_however_they_were_asked_for():
    done: list[str] = []
    turn = Turn(steps(done))
    for step, one in ((READ, "c"), (KEEP, "b"), (TELL, "a")):
        turn.at(step, one)
    await asyncio.sleep(0)
    ways = {"a": ("tell",), "b": ("keep", "stand", "settle"), "c": ("read", "look", "begin")}
    assert done == [f"{name} {one}" for one, names in ways.items() for name in names]


async def test_what_is_asked_for_meanwhile_is_done_in_the_same_turn_be_it_an_earlier_step():
    done: list[str] = []
    turn = Turn(steps(done, begin=lambda now: [turn.at(RECORD, one) for one in now], look=lambda now: now))
    turn.at(READ, "a")
    await asyncio.sleep(0)
    assert done == ["read a", "record a", "journal a", "tell a"]


async def test_the_next_turn_begins_anew():
    done: list[str] = []
    turn = Turn(steps(done))
    for number in range(3):
        turn.at(SETTLE, str(number))
        await asyncio.sleep(0)
        assert done == [f"settle {one}" for one in range(number + 1)]


async def test_who_is_told_no_goes_no_further():
    done: list[str] = []
    turn = Turn(steps(done, look=each(lambda one: one == "a")))
    turn.at(LOOK, "a")
    turn.at(LOOK, "b")
    await asyncio.sleep(0)
    assert done == ["begin a"]


async def test_a_step_for_all_at_once_says_who_goes_on():
    done: list[str] = []
    turn = Turn(steps(done, journal=lambda now: now[1:]))
    for one in "abc":
        turn.at(JOURNAL, one)
    await asyncio.sleep(0)
    assert done == ["tell b", "tell c"]


async def test_a_mistake_in_one_request_is_no_others_and_what_it_took_is_given_back():
    done: list[str] = []
    turn = Turn(steps(done, keep=each(lambda one: 1 // (one != "a") > 2)))
    turn.at(KEEP, "a")
    turn.at(STAND, "b")
    turn.at(BEGIN, "c")
    await asyncio.sleep(0)
    assert done == ["stand b", "stand a", "settle b", "settle a", "begin c"]
