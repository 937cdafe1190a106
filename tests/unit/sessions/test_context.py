"""The context of a turn: never too long, never without system prompt and question, as much as fits."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.sessions.context import Context, Count, Draft, built, exchanges, room
from enginehouse.core.sessions.conversation import Message, Status
from enginehouse.errors import ContextLengthExceeded
from enginehouse.testing.conversations import WordRuler, words_in
from enginehouse.types.generation import Role, Text, Thinking, Tool, ToolCall, ToolResult, Turn

AROUND = 4


class Rough(WordRuler, frozen=True, kw_only=True):
    """Counts single messages wrongly: the guess may be anything, the whole is right."""

    factor: float = 1.0

    async def text(self, turn):
        return Count(int(words_in(turn) * self.factor), exact=True)


def message(number, role, *parts, status=Status.COMPLETE):
    parent = None if number == 1 else f"m{number - 1}"
    return Message(
        id=f"m{number}",
        number=number,
        parent=parent,
        depth=number,
        role=role,
        parts=parts,
        status=status,
        created=0,
    )


def words(count, word="w"):
    return Text(text=" ".join([word] * count))


def branch_of(*turns):
    """Messages of (role, parts)."""
    return [message(n, role, *parts) for n, (role, parts) in enumerate(turns, 1)]


def plain(*lengths):
    """User and assistant by turns, the user last, with so many words each."""
    roles = [Role.USER, Role.ASSISTANT]
    return branch_of(*((roles[n % 2], (words(length),)) for n, length in enumerate(lengths)))


async def context_of(branch, limit, *, system="", asked=1, factor=1.0, tools=(), known=None, summary=None):
    draft = Draft(system=system, branch=branch, asked=asked, tools=tools, summary=summary)
    return await built(Rough(model="m", context_length=10_000, factor=factor), draft, limit, known or {})


def length(turns):
    return sum(words_in(turn) + AROUND for turn in turns)


exchange = st.one_of(
    st.tuples(st.just("said"), st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.just("called"), st.integers(1, 12), st.integers(1, 4)),
    st.tuples(st.just("silent"), st.integers(1, 12), st.just(0)),
    st.tuples(st.just("unanswered"), st.integers(1, 12), st.just(0)),
    st.tuples(st.just("thought"), st.integers(1, 12), st.integers(1, 12)),
)


def told(kind, asked, answered, tag):
    user = (Role.USER, (words(asked),))
    match kind:
        case "said":
            return [user, (Role.ASSISTANT, (words(answered),))]
        case "called":
            rounds = []
            for n in range(answered):
                id_ = f"{tag}.{n}"
                rounds.append((Role.ASSISTANT, (ToolCall(id=id_, name="f", arguments="a b"),)))
                rounds.append((Role.TOOL, (ToolResult(call_id=id_, parts=(words(asked),)),)))
            return [user, *rounds, (Role.ASSISTANT, (words(answered),))]
        case "silent":
            return [user, (Role.ASSISTANT, ())]
        case "unanswered":
            return [user, (Role.ASSISTANT, (ToolCall(id=f"{tag}", name="f", arguments="a"),))]
        case _:
            return [user, (Role.ASSISTANT, (Thinking(text="hm"), words(answered)))]


@settings(max_examples=300)
@given(
    st.lists(exchange, max_size=8),
    st.integers(1, 20),
    st.integers(0, 6),
    st.integers(1, 250),
    st.sampled_from([0.1, 1.0, 1.0, 1.0, 5.0]),
    st.integers(0, 3),
)
async def test_it_keeps_within_the_limit_and_holds_system_prompt_and_question(
    past, asked, system, limit, factor, rounds
):
    turns = [turn for number, one in enumerate(past) for turn in told(*one, number)]
    turns.append((Role.USER, (words(asked, "question"),)))
    for n in range(rounds):
        turns.append((Role.ASSISTANT, (ToolCall(id=f"now{n}", name="f", arguments="a b"),)))
        turns.append((Role.TOOL, (ToolResult(call_id=f"now{n}", parts=(words(3),)),)))
    branch, prompt = branch_of(*turns), " ".join(["s"] * system)
    least = [turn for turn in ((Role.SYSTEM, (Text(text=prompt),)),) if system]
    least += [(Role.USER, (words(asked, "question"),)), *turns[-2:]] if rounds else [turns[-1]]
    needed = length([Turn(role=role, parts=parts) for role, parts in least])
    if needed > limit:
        with pytest.raises(ContextLengthExceeded, match=rf"{needed} tokens .* {limit} of"):
            await context_of(branch, limit, system=prompt, factor=factor)
        return
    context = await context_of(branch, limit, system=prompt, factor=factor)
    check(context, branch, limit, prompt)


def check(context: Context, branch, limit, system):
    assert context.tokens == length(context.turns) <= limit
    assert context.exact
    if system:
        assert context.turns[0] == Turn(role=Role.SYSTEM, parts=(Text(text=system),))
    last = [m for m in branch if m.role is Role.USER][-1]
    assert last.turn() in context.turns
    assert context.turns[-1] == branch[-1].turn()
    calls = {part.id for turn in context.turns for part in turn.parts if isinstance(part, ToolCall)}
    results = {part.call_id for turn in context.turns for part in turn.parts if isinstance(part, ToolResult)}
    assert calls == results
    talk = [turn for turn in context.turns if turn.role is not Role.SYSTEM]
    assert talk[0].role is Role.USER
    assert all(a.role is not Role.USER or b.role is not Role.USER for a, b in pairwise(talk))
    left_out = [m for m in branch if m.id in context.left_out]
    if left_out:  # one more would not have fitted
        newest = exchanges(left_out)[-1]
        rounds = newest if newest[0].role is Role.USER else newest[-2:]
        visible = [
            Turn(role=m.role, parts=tuple(p for p in m.parts if not isinstance(p, Thinking))) for m in rounds
        ]
        assert context.tokens + length(visible) > limit


async def test_all_of_it_where_there_is_room_or_no_limit():
    branch = plain(3, 4, 5, 6, 7)
    for limit in (None, 45, 1000):
        context = await context_of(branch, limit)
        assert [turn.parts for turn in context.turns] == [m.parts for m in branch]
        assert context.left_out == ()
    assert (await context_of(branch, 44)).left_out == ("m1", "m2")


async def test_the_newest_rounds_of_a_long_tool_loop_stay_with_their_question():
    turns = [(Role.USER, (words(2, "question"),))]
    for n in range(5):
        turns.append((Role.ASSISTANT, (ToolCall(id=str(n), name="f", arguments="a"),)))
        turns.append((Role.TOOL, (ToolResult(call_id=str(n), parts=(words(5),)),)))
    context = await context_of(branch_of(*turns), 40)
    ids = [p.call_id for turn in context.turns for p in turn.parts if isinstance(p, ToolResult)]
    assert ids == ["3", "4"]
    assert context.turns[0].role is Role.USER
    assert context.left_out == ("m2", "m3", "m4", "m5", "m6", "m7")


async def test_thoughts_of_earlier_exchanges_are_left_out_but_not_those_of_this_one():
    thought = Thinking(text="hm")
    call = ToolCall(id="1", name="f", arguments="a")
    branch = branch_of(
        (Role.USER, (words(1),)),
        (Role.ASSISTANT, (thought, words(1))),
        (Role.USER, (words(1),)),
        (Role.ASSISTANT, (thought, call)),
        (Role.TOOL, (ToolResult(call_id="1", parts=(words(1),)),)),
    )
    context = await context_of(branch, None)
    assert [thought in turn.parts for turn in context.turns] == [False, False, False, True, False]


async def test_a_summary_is_part_of_the_system_prompt_and_counts():
    context = await context_of(plain(3), 100, system="be short", summary="they met")
    assert context.turns[0].parts == (Text(text="be short\n\nWhat was said before, in short: they met"),)
    assert context.tokens == length(context.turns)


async def test_what_was_counted_before_is_not_counted_again():
    counted = []

    class Counting(WordRuler, frozen=True, kw_only=True):
        async def text(self, turn):
            counted.append(turn)
            return await super().text(turn)

    branch = plain(3, 4, 5)
    draft = Draft(system="", branch=branch, asked=1)
    context = await built(Counting(model="m", context_length=100), draft, 50, {"m1": 3, "m2": 4})
    assert counted == [branch[2].turn()]
    assert context.counted == {"m3": 5}


async def test_a_long_past_is_asked_about_a_few_times_only():
    asked = []

    class Counting(WordRuler, frozen=True, kw_only=True):
        async def prompt(self, generation, limit):
            asked.append(len(generation.turns))
            return await super().prompt(generation, limit)

    draft = Draft(system="", branch=plain(*[10] * 401), asked=1)
    context = await built(Counting(model="m", context_length=10_000), draft, 1000, {})
    assert context.tokens <= 1000 < context.tokens + 28
    assert len(asked) <= 12


async def test_tools_are_part_of_what_is_measured():
    given = []

    class Counting(WordRuler, frozen=True, kw_only=True):
        async def prompt(self, generation, limit):
            given.append(generation.tools)
            return await super().prompt(generation, limit)

    tool = Tool(name="f")
    await built(
        Counting(model="m", context_length=100), Draft(system="", branch=plain(3), asked=1, tools=(tool,)), 50, {}
    )
    assert given == [(tool,)]


@pytest.mark.parametrize(
    ("context_length", "max_tokens", "free"),
    [(None, 5, None), (100, 30, 70), (100, None, 75), (10_000, None, 9_488), (100, 0, 100), (100, 200, 0)],
)
def test_room_is_what_the_answer_leaves(context_length, max_tokens, free):
    assert room(context_length, max_tokens, 512) == free
