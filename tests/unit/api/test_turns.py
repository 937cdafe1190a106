"""One turn of the loop: all requests' steps in their order, each step for all of them."""

import asyncio

from enginehouse.api.fast.turns import BEGIN, HEAR, JOURNAL, KEEP, LOOK, READ, RECORD, TELL, Turn


async def test_steps_come_in_their_order_for_all_requests():
    turn, done = Turn(), []
    for request in "ab":
        for step in (TELL, RECORD, HEAR):
            turn.at(step, lambda step=step, request=request: done.append((step, request)))
    assert not done
    await asyncio.sleep(0)
    assert done == [(step, request) for step in (HEAR, RECORD, TELL) for request in "ab"]


async def test_what_follows_from_a_step_is_done_in_the_same_turn_be_it_an_earlier_one():
    turn, done = Turn(), []
    turn.at(READ, lambda: (done.append("read"), turn.at(LOOK, look)))

    def look():
        done.append("look")
        turn.at(BEGIN, lambda: done.append("begin"))
        turn.at(RECORD, lambda: (done.append("record"), turn.at(TELL, lambda: done.append("tell"))))

    await asyncio.sleep(0)
    assert done == ["read", "look", "begin", "record", "tell"]


async def test_the_next_turn_begins_anew():
    turn, done = Turn(), []
    for number in range(3):
        turn.at(KEEP, lambda number=number: done.append(number))
        await asyncio.sleep(0)
        assert done == list(range(number + 1))


async def test_a_mistake_in_one_request_is_no_others():
    turn, done = Turn(), []
    turn.at(KEEP, lambda: 1 / 0)
    turn.at(KEEP, lambda: done.append("kept"))
    turn.at(BEGIN, lambda: done.append("begun"))
    await asyncio.sleep(0)
    assert done == ["kept", "begun"]


async def test_what_is_done_together_is_done_once_after_all_have_come():
    turn, done = Turn(), []
    for request in "abc":
        turn.at(RECORD, lambda request=request: turn.together(JOURNAL, request, done.append))
    turn.at(TELL, lambda: done.append("told"))
    await asyncio.sleep(0)
    assert done == [["a", "b", "c"], "told"]
    turn.together(JOURNAL, "d", done.append)
    await asyncio.sleep(0)
    assert done[2:] == [["d"]]
