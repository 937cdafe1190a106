"""Conversations on every database: one turn at a time, in order; nothing shortened, nothing of others.

Who runs them has the fixtures `database`, open, migrated and empty, and `copies`, which makes what a replica has at
hand. Two `Sessions` on one database are two replicas.
"""

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import func, select

from enginehouse.core.sessions import ROOT, Owner, Question, Sessions, Status
from enginehouse.core.sessions.rows import message_from, session_from
from enginehouse.errors import (
    Conflict,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    QueueFull,
    StoreUnavailable,
)
from enginehouse.settings.schema import SessionSettings
from enginehouse.stores.sql import sessions as sql
from enginehouse.testing.conversations import WordRulers
from enginehouse.types import Principal, Usage
from enginehouse.types.answer import TextDelta
from enginehouse.types.generation import Image, Role, Text, Turn

ANN, BOB = Principal(user="ann"), Principal(user="bob")


class Replica(Sessions):
    """A process; its clock stands still unless it is moved."""

    def __init__(self, database, hot, *, lengths=None, now=1_700_000_000.0, **settings):
        self.now = now
        self.database = database
        super().__init__(
            database,
            WordRulers(**(lengths or {"parrot": None})),
            SessionSettings(**settings),
            hot,
            clock=lambda: self.now,
        )

    async def ask(self, said="hello", answer="hello yourself", *, who=ANN, **more):
        async with self.turn(who, Question(said=said, **more)) as turn:
            await turn.answered(answer, usage=Usage(input=1, output=2), finish_reason="stop")
        return turn

    async def leave(self, error, *words, withdraw=False, **more):
        """A turn that is left by an error."""
        turns = []
        with pytest.raises(type(error)):
            await self._left(error, turns, words, withdraw, more)
        return turns[0]

    async def _left(self, error, turns, words, withdraw, more):
        async with self.turn(ANN, Question(**{"said": "hello", **more})) as turn:
            turns.append(turn)
            for word in words:
                turn.add(TextDelta(text=word))
            if withdraw:
                await turn.withdrawn()
            raise error

    async def messages(self, turn):
        def read(connection):
            return [message_from(r) for r in sql.messages_of(connection, turn.session.key, after=0, limit=1000)]

        return await self.database.read(read)

    async def session(self, turn):
        owner = turn.session.owner
        return await self.database.read(
            lambda c: (row := sql.one_session(c, owner.tenant, owner.user, turn.session.id)) and session_from(row)
        )


def said(turn):
    return [(t.role.value, "".join(p.text for p in t.parts if isinstance(p, Text))) for t in turn.messages]


async def in_line(replica, count):
    """Until so many have a turn, or wait for one."""
    there, statement = 0, select(func.count()).select_from(sql.TURNS)
    while there < count:
        there = await replica.database.read(lambda connection: connection.execute(statement).scalar_one())


@pytest.fixture
def replica(database, copies):
    return lambda **more: Replica(database, copies(), **more)


@pytest.fixture
def here(replica):
    return replica()


async def test_a_session_is_made_on_first_use_and_goes_on(here):
    first = await here.ask("What is Python?", "A language.", session_id="abc-123")
    second = await here.ask("Whose?", "Guido's.", session_id="abc-123")
    assert said(second) == [("user", "What is Python?"), ("assistant", "A language."), ("user", "Whose?")]
    assert (first.session.key, first.session.title) == (second.session.key, "What is Python?")
    kept = [(m.role.value, m.text, m.status.value, m.depth) for m in await here.messages(first)]
    assert kept == [
        ("user", "What is Python?", "complete", 1),
        ("assistant", "A language.", "complete", 2),
        ("user", "Whose?", "complete", 3),
        ("assistant", "Guido's.", "complete", 4),
    ]
    session = await here.session(first)
    assert (session.messages, session.leaf, session.model) == (4, second.message_id, "parrot")


async def test_an_answer_is_there_as_running_before_its_first_word(here):
    async with here.turn(ANN, Question(said="hello")) as turn:
        question, answer = await here.messages(turn)
        assert (question.text, question.status, answer.status) == ("hello", Status.COMPLETE, Status.RUNNING)
        assert answer.id == turn.message_id
        turn.add(TextDelta(text="he"))
        turn.add(TextDelta(text="llo"))
        await here.look_after()
        assert [m.text for m in await here.messages(turn)] == ["hello", "hello"]


async def test_of_many_answers_each_is_noted_in_its_turn(here):
    async with AsyncExitStack() as stack:
        turns = [await stack.enter_async_context(here.turn(ANN, Question(said="hello"))) for _ in range(101)]
        for turn in turns:
            turn.add(TextDelta(text="half"))
        await here.look_after()
        noted = [(await here.messages(turn))[1].text for turn in turns]
        assert (noted.count("half"), noted[-1]) == (100, "")
        await here.look_after()
        assert (await here.messages(turns[-1]))[1].text == "half"


async def test_who_leaves_marks_the_answer_with_what_came(here):
    turn = await here.leave(asyncio.CancelledError(), "half", " a")
    _, answer = await here.messages(turn)
    assert (answer.text, answer.status) == ("half a", Status.INTERRUPTED)


async def test_an_error_fails_the_answer(here):
    turn = await here.leave(QueueFull("full"))
    _, answer = await here.messages(turn)
    assert (answer.status, answer.error) == (Status.FAILED, "queue_full")


async def test_a_turn_can_never_have_been(here):
    first = await here.ask(session_id="s")
    await here.leave(QueueFull("full"), withdraw=True, session_id="s", system="be short")
    assert len(await here.messages(first)) == 2
    session = await here.session(first)
    assert (session.messages, session.leaf, session.system) == (2, first.message_id, "")
    turn = await here.leave(QueueFull("full"), withdraw=True)
    assert await here.session(turn) is None


async def test_stopped_is_kept_as_it_was_sent(here):
    async with here.turn(ANN, Question(said="hello")) as turn:
        turn.add(TextDelta(text="one two three"))
        await turn.answered("one two", status=Status.STOPPED, usage=Usage(output=2))
    _, answer = await here.messages(turn)
    assert (answer.text, answer.status, answer.usage) == ("one two", Status.STOPPED, Usage(output=2))


async def test_another_owners_session_is_not_found_and_not_touched(here):
    turn = await here.ask(who=ANN)
    for stranger in (BOB, Principal(user="ann", tenant="acme"), Principal(user="root", role="admin")):
        with pytest.raises(NotFound):
            await here.ask(who=stranger, session_id=turn.session.id)
    assert len(await here.messages(turn)) == 2


async def test_an_id_of_ones_own_choice_is_ones_own(here):
    first, second = (
        await here.ask("I am Ann", who=ANN, session_id="s"),
        await here.ask("I", who=BOB, session_id="s"),
    )
    assert first.session.key != second.session.key
    assert said(second) == [("user", "I")]


async def test_turns_of_one_session_come_in_the_order_of_arrival_on_both_replicas(replica):
    here, there = replica(), replica()
    order, all_in = [], asyncio.Event()

    async def ask(replica, number):
        async with replica.turn(ANN, Question(said=f"number {number}", session_id="s")) as turn:
            order.append((number, len(turn.messages)))
            await all_in.wait()
            await turn.answered("yes")

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(ask((here, there)[number % 2], number))
            await in_line(here, number + 1)
        all_in.set()
    assert order == [(number, 2 * number + 1) for number in range(8)]


async def test_a_second_one_is_refused_where_none_shall_wait(replica):
    here, there = replica(concurrent="reject"), replica(concurrent="reject")
    async with here.turn(ANN, Question(said="hello", session_id="s")) as turn:
        for replica in (here, there):
            with pytest.raises(Conflict):
                await replica.ask(session_id="s")
        await turn.answered("yes")
        await there.ask(session_id="s")
    assert len(await here.messages(turn)) == 4


async def test_to_edit_and_to_answer_anew_make_branches(here):
    first = await here.ask("one", "1", session_id="s")
    second = await here.ask("two", "2", session_id="s")
    edited = await here.ask("two, please", "2!", session_id="s", parent=first.message_id)
    assert said(edited) == [("user", "one"), ("assistant", "1"), ("user", "two, please")]
    anew = await here.ask((), "two!", session_id="s", parent=second.message_id)
    assert said(anew) == [("user", "one"), ("assistant", "1"), ("user", "two")]
    assert anew.answer.parent == second.answer.parent
    root = await here.ask("begin", session_id="s", parent=ROOT)
    assert said(root) == [("user", "begin")]
    onward = await here.ask("and", session_id="s")
    assert [text for _, text in said(onward)] == ["begin", "hello yourself", "and"]


async def test_what_cannot_follow_is_refused_and_leaves_nothing(here):
    turn = await here.ask(session_id="s")
    for wrong, error in (
        ({"parent": turn.asked[0].id}, InvalidRequest),
        ({"parent": "msg_none"}, NotFound),
        ({"said": (), "parent": ROOT}, InvalidRequest),
        ({"said": ""}, InvalidRequest),
        ({"model": "nobody"}, ModelNotFound),
    ):
        with pytest.raises(error):
            await here.ask(**{"said": "hello", "session_id": "s", **wrong})
    with pytest.raises(ModelNotFound):
        await here.ask(session_id="t", model="nobody")
    assert len(await here.messages(turn)) == 2
    owner = Owner.of(ANN)
    assert await here.database.read(lambda c: sql.how_many(c, owner.tenant, owner.user)) == 1


async def test_a_question_that_cannot_fit_never_was(replica):
    here = replica(lengths={"parrot": 40}, answer_tokens=10)
    first = await here.ask(session_id="s")
    with pytest.raises(ContextLengthExceeded, match=r"34 tokens .* 30 of"):
        await here.ask("word " * 30, session_id="s")
    assert len(await here.messages(first)) == 2


async def test_what_a_dead_replica_was_writing_is_interrupted_and_the_next_goes_on(replica):
    dead, here = replica(), replica()
    turn = dead.turn(ANN, Question(said="hello", session_id="s"))
    opened = await turn.__aenter__()
    opened.add(TextDelta(text="half"))
    await dead.look_after()
    here.now += 14
    await here.look_after()
    assert (await here.messages(opened))[1].status is Status.RUNNING
    here.now += 2
    await here.look_after()
    question, answer = await here.messages(opened)
    assert (question.text, answer.text, answer.status) == ("hello", "half", Status.INTERRUPTED)
    after = await here.ask("go on", session_id="s")
    assert [text for _, text in said(after)] == ["hello", "half", "go on"]
    await opened.answered("half is late")
    assert (await here.messages(opened))[1].text == "half is late"
    await turn.__aexit__(None, None, None)


async def test_what_another_replica_changed_counts_at_once(replica):
    here, there = replica(), replica()
    first = await here.ask("one", "1", session_id="s")
    await there.ask("two", "2", session_id="s")
    edited = await here.ask("three", "3", session_id="s", parent=first.message_id)
    assert [text for _, text in said(edited)] == ["one", "1", "three"]
    onward = await there.ask("four", "4", session_id="s")
    assert [text for _, text in said(onward)] == ["one", "1", "three", "3", "four"]


class Leaving:
    """A database that goes away when it is told."""

    def __init__(self, database):
        self.database, self.away = database, False
        self.embedded = database.embedded

    async def read(self, work):
        return await self.database.read(work)

    async def write(self, work):
        if self.away:
            raise StoreUnavailable("away")
        return await self.database.write(work)


async def test_an_unsaved_end_is_saved_as_soon_as_it_can_be(database, copies):
    leaving = Leaving(database)
    here = Replica(leaving, copies())
    async with here.turn(ANN, Question(said="hello", session_id="s")) as turn:
        leaving.away = True
        with pytest.raises(StoreUnavailable):
            await turn.answered("all of it")
    leaving.away = False
    assert (await here.messages(turn))[1].status is Status.RUNNING
    await here.look_after()
    answer = (await here.messages(turn))[1]
    assert (answer.text, answer.status) == ("all of it", Status.COMPLETE)


async def test_deleting_a_session_in_the_midst_of_a_turn_harms_nobody(here):
    async with here.turn(ANN, Question(said="hello", session_id="s")) as turn:
        waiting = asyncio.get_running_loop().create_task(here.ask("next", session_id="s"))
        await in_line(here, 2)
        await here.database.write(lambda c: sql.remove(c, turn.session.key))
        await here.look_after()
        await turn.answered("too late")
    with pytest.raises(NotFound):
        await waiting
    again = await here.ask("hello", session_id="s")
    assert len(await here.messages(again)) == 2


async def test_who_leaves_the_line_holds_nobody_up(here):
    async with here.turn(ANN, Question(said="hello", session_id="s")) as turn:
        waiting = []
        for n in range(3):
            waiting.append(asyncio.get_running_loop().create_task(here.ask(f"n {n}", session_id="s")))
            await in_line(here, n + 2)
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        await turn.answered("yes")
    await asyncio.gather(*waiting[1:])
    assert [m.text for m in await here.messages(turn)][2::2] == ["n 1", "n 2"]


async def test_what_failed_without_a_word_is_left_out_of_the_context(here):
    await here.ask("one", "1", session_id="s")
    await here.leave(QueueFull("full"), session_id="s", said="two")
    after = await here.ask("three", "3", session_id="s")
    assert [text for _, text in said(after)] == ["one", "1", "three"]
    assert [m.text for m in await here.messages(after)] == ["one", "1", "two", "", "three", "3"]


async def test_words_of_all_kinds_come_back_as_they_were(here):
    strange = 'NUL \x00, \u2028, 😀, \ufffe, e\u0301 and \\u0000 "quoted"'
    parts = (Text(text=strange), Image(url="https://example.org/cat.png"))
    turn = await here.ask((Turn(role=Role.USER, parts=parts, name="Ann"),), strange, session_id="s", system=strange)
    question, answer = await here.messages(turn)
    assert (question.parts, question.name, answer.text) == (parts, "Ann", strange)
    assert (await here.session(turn)).system == strange


async def test_tokens_are_counted_once(replica, database):
    here = replica(lengths={"parrot": 1000})
    await here.ask("one two three", "four five", session_id="s")
    turn = await here.ask("six", session_id="s")
    ids = [message.id for message in await here.messages(turn)]
    kept = await database.read(lambda c: sql.counts(c, "words", ids))
    assert [kept.get(id_) for id_ in ids] == [3, 2, 1, None]


async def test_who_is_alive_keeps_its_turn_however_long_it_takes(replica):
    here, there = replica(), replica()
    async with here.turn(ANN, Question(said="hello", session_id="s")) as turn:
        for _ in range(3):
            here.now += 10
            there.now += 10
            await here.look_after()
            await there.look_after()
        assert (await here.messages(turn))[1].status is Status.RUNNING
        await turn.answered("at last")
