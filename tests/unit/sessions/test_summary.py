"""What falls out of the context is summed up once, stays with its message, and is told from then on."""

import pytest

from enginehouse.core.sessions import Question, Sessions
from enginehouse.core.sessions.rows import message_from
from enginehouse.errors import UpstreamDied
from enginehouse.settings.schema import SessionSettings
from enginehouse.stores.kv import MemoryCopies
from enginehouse.stores.sql import database_url, migrate, open_database
from enginehouse.stores.sql import sessions as sql
from enginehouse.testing.conversations import WordRulers
from enginehouse.types import Principal

ANN = Principal(user="ann")


class Scribe:
    """Sums up by first words."""

    def __init__(self):
        self.asked, self.broken = [], False

    async def __call__(self, principal, model, request_id, before, said):
        assert (principal, model) == (ANN, "scribe")
        self.asked.append([message.text.split()[0] for message in said])
        if self.broken:
            raise UpstreamDied("gone")
        return " ".join([*(before or "").split(), *self.asked[-1]])


@pytest.fixture
async def talk(tmp_path):
    scribe = Scribe()
    async with open_database(database_url("", tmp_path)) as database:
        await migrate(database)
        settings = SessionSettings(summary_model="scribe", answer_tokens=10)
        copies = MemoryCopies(10**6, 60.0)
        sessions = Sessions(database, WordRulers(parrot=110), settings, copies, sums_up=scribe)

        async def say(number, **more):
            question = Question(said=f"q{number} w w w w", session_id="s", system="sys", **more)
            async with sessions.turn(ANN, question) as turn:
                await turn.answered(f"a{number} w w w w")
            return turn

        async def summaries(turn):
            rows = await database.read(lambda c: sql.messages_of(c, turn.session.key, after=0, limit=100))
            return {
                message.text.split()[0]: message.summary for message in map(message_from, rows) if message.summary
            }

        yield say, summaries, scribe


def told(turn):
    return turn.messages[0].parts[0].text, [t.parts[0].text.split()[0] for t in turn.messages[1:]]


async def test_what_falls_out_is_summed_up_once_and_told_from_then_on(talk):
    say, summaries, scribe = talk
    turns = [await say(number) for number in range(9)]
    assert told(turns[4])[0] == "sys"
    assert scribe.asked[0] == ["q0", "a0", "q1", "a1", "q2", "a2"]
    first = next(turn for turn in turns if turn.context.summary)
    system, words = told(first)
    assert system == "sys\n\nWhat was said before, in short: q0 a0 q1 a1 q2 a2"
    assert words[0] == "q3"
    assert first.context.left_out == ()
    assert (await summaries(first))["a2"] == "q0 a0 q1 a1 q2 a2"
    after = turns[turns.index(first) + 1]
    assert after.context.summary == first.context.summary
    for turn in turns:
        assert turn.context.tokens <= 100
    assert len(scribe.asked) == len(await summaries(first)) < 4


async def test_later_ones_go_on_from_earlier_ones(talk):
    say, _, scribe = talk
    turns = [await say(number) for number in range(14)]
    everything = " ".join(f"q{n} a{n}" for n in range(14))
    assert everything.startswith(turns[-1].context.summary)
    assert [word for asked in scribe.asked for word in asked] == turns[-1].context.summary.split()
    assert told(turns[-1])[1][0] == f"q{len(turns[-1].context.summary.split()) // 2}"


async def test_a_branch_from_before_the_summary_knows_nothing_of_it(talk):
    say, _, _ = talk
    turns = [await say(number) for number in range(9)]
    branch = await say(99, parent=turns[1].message_id)
    assert told(branch) == ("sys", ["q0", "a0", "q1", "a1", "q99"])


async def test_without_a_summary_it_goes_on_as_it_is(talk):
    say, summaries, scribe = talk
    scribe.broken = True
    turns = [await say(number) for number in range(9)]
    assert turns[-1].context.summary is None
    assert turns[-1].context.left_out
    assert await summaries(turns[-1]) == {}
