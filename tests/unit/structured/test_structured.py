"""Answers under a schema: modes, attempts, what is told to the model, and how it ends."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.structured import Mode, Structured
from enginehouse.core.structured.schema import Bench, Flaw
from enginehouse.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    SchemaValidationFailed,
    UpstreamDied,
)
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Finish
from enginehouse.types.generation import (
    Generation,
    JsonAnswer,
    Prompt,
    Refusal,
    Role,
    Sampling,
    Text,
    Tool,
    Turn,
)

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city", "people"],
}
GOOD = '{"city": "Paris", "people": 2}'
ASKED = Generation(
    model="m",
    turns=(Turn(role=Role.SYSTEM, parts=(Text(text="be kind"),)), Turn(role=Role.USER, parts=(Text(text="hi"),))),
    answer=JsonAnswer(schema=SCHEMA),
)


COUNTED = Usage(input=3, output=2)


class Model:
    """Says what it is told to say, one answer after the other; an error is raised."""

    def __init__(self, *answers, reason=Finish.STOP, usage=COUNTED):
        self.answers = list(answers)
        self.asked = []
        self.reason = reason
        self.usage = usage

    async def __call__(self, generation):
        self.asked.append(generation)
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        part = said if isinstance(said, Refusal) else Text(text=said)
        return Answer(choices=(Choice(parts=(part,), reason=self.reason),), usage=self.usage)


async def ask(model, *, native=False, generation=ASKED):
    return await Structured().answer(generation, model, native=native)


async def test_an_engine_that_can_is_held_to_the_schema():
    model = Model(GOOD)
    outcome = await ask(model, native=True)
    assert model.asked == [ASKED]
    assert (outcome.mode, outcome.attempts, outcome.output) == (Mode.NATIVE, 1, GOOD)
    assert outcome.parsed == {"city": "Paris", "people": 2}
    assert not outcome.repaired


async def test_an_engine_that_cannot_is_asked_in_words():
    model = Model(GOOD)
    outcome = await ask(model)
    (asked,) = model.asked
    assert (outcome.mode, outcome.attempts) == (Mode.PROMPT, 1)
    assert asked.answer is None
    kind, words = asked.turns[0].parts
    assert kind.text == "be kind"
    assert json.loads(words.text.partition("JSON schema:\n")[2]) == SCHEMA
    assert asked.turns[1:] == ASKED.turns[1:]


async def test_where_there_is_no_system_text_there_is_some_then():
    model = Model(GOOD)
    await ask(model, generation=msgspec.structs.replace(ASKED, turns=ASKED.turns[1:]))
    assert [turn.role for turn in model.asked[0].turns] == [Role.SYSTEM, Role.USER]


async def test_an_engine_that_refuses_this_schema_is_asked_in_words():
    model = Model(InvalidRequest("failed to parse grammar"), GOOD)
    outcome = await ask(model, native=True)
    assert (outcome.mode, outcome.attempts) == (Mode.PROMPT, 1)
    assert [asked.answer is None for asked in model.asked] == [False, True]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("error", [UpstreamDied("gone"), ContextLengthExceeded("too long")])
async def test_other_errors_pass_through(native, error):
    model = Model(error)
    with pytest.raises(type(error)):
        await ask(model, native=native)
    assert len(model.asked) == 1


async def test_a_request_that_is_wrong_in_words_too_is_wrong():
    model = Model(InvalidRequest("bad temperature"), InvalidRequest("bad temperature"))
    with pytest.raises(InvalidRequest, match="temperature"):
        await ask(model, native=True)


@pytest.mark.parametrize(
    ("said", "repaired"),
    [
        (f"Sure!\n```json\n{GOOD}\n```", False),
        (f"<think>{{}}</think>\n{GOOD}", False),
        (f'{{"city": 1}} was wrong; now {GOOD}', False),
        (f"{{'city': 'Somewhere far away', 'people': 1}}, or rather: {GOOD}", False),
        ("{'city': 'Paris', 'people': 2,}", True),
        ('{"city": "Paris", "people": 2', True),
    ],
)
async def test_json_is_found_and_mended(said, repaired):
    outcome = await ask(Model(said))
    assert outcome.parsed == {"city": "Paris", "people": 2}
    assert (outcome.attempts, outcome.output, outcome.repaired) == (1, said, repaired)


@pytest.mark.parametrize("native", [True, False])
async def test_what_was_wrong_is_told_and_asked_again(native):
    model = Model('{"city": "Paris", "people": -1}', GOOD)
    outcome = await ask(model, native=native)
    first, second = model.asked
    assert (outcome.attempts, outcome.mode) == (2, Mode.NATIVE if native else Mode.PROMPT)
    assert second.answer == first.answer
    *before, said, again = second.turns
    assert tuple(before) == first.turns
    assert (said.role, said.parts) == (Role.ASSISTANT, (Text(text='{"city": "Paris", "people": -1}'),))
    assert "/people: -1 is less than the minimum of 0" in again.parts[0].text
    assert outcome.usage == Usage(input=6, output=4)


async def test_only_the_last_mistake_is_told():
    model = Model("nonsense", '{"city": 1}', GOOD)
    await ask(model)
    assert [len(asked.turns) for asked in model.asked] == [2, 4, 4]
    assert "not JSON" in model.asked[1].turns[-1].parts[0].text
    assert "nonsense" not in repr(model.asked[2])


async def test_nothing_said_is_nothing_to_show():
    model = Model("", Refusal(text="no"), GOOD)
    outcome = await ask(model)
    assert outcome.attempts == 3
    assert model.asked[0] == model.asked[1]


async def test_three_attempts_and_no_more():
    model = Model('{"city": 7}', '{"city": 8}', '{"city": 9, "people": "x"}', GOOD)
    with pytest.raises(SchemaValidationFailed) as caught:
        await ask(model)
    error = caught.value
    assert (error.code, error.attempts, error.raw) == (
        "schema_validation_failed",
        3,
        '{"city": 9, "people": "x"}',
    )
    assert [path for path, _ in error.flaws] == ["/city", "/people"]
    assert "/city" in error.message
    assert error.raw in error.message
    assert len(model.asked) == 3


async def test_a_question_that_has_grown_too_long_ends_the_attempts():
    model = Model("nonsense", ContextLengthExceeded("too long"))
    with pytest.raises(SchemaValidationFailed) as caught:
        await ask(model)
    assert (caught.value.attempts, caught.value.raw) == (1, "nonsense")


async def test_what_was_cut_off_at_the_token_limit_is_not_closed():
    with pytest.raises(SchemaValidationFailed, match="cut off at the token limit"):
        await ask(Model(*['{"city": "Paris", "people": 2'] * 3, reason=Finish.LENGTH))
    whole = await ask(Model(f"{GOOD}, and that is beca", reason=Finish.LENGTH))
    assert whole.parsed == {"city": "Paris", "people": 2}


async def test_a_number_that_was_cut_off_is_no_number():
    numbers = msgspec.structs.replace(ASKED, answer=JsonAnswer(schema={"type": "integer"}))
    with pytest.raises(SchemaValidationFailed):
        await ask(Model("12", "12", "12", reason=Finish.LENGTH), generation=numbers)
    assert (await ask(Model("12"), generation=numbers)).parsed == 12


async def test_any_object_will_do_where_no_schema_is_given():
    anything = msgspec.structs.replace(ASKED, answer=JsonAnswer())
    assert (await ask(Model("[1]", '{"x": 1}'), generation=anything)).parsed == {"x": 1}
    nothing = msgspec.structs.replace(ASKED, answer=JsonAnswer(schema={}))
    assert (await ask(Model("[1]"), generation=nothing)).parsed == [1]


async def test_where_no_json_is_asked_for_the_model_is_simply_asked():
    plain = msgspec.structs.replace(ASKED, answer=None)
    model = Model("hello")
    outcome = await ask(model, native=True, generation=plain)
    assert model.asked == [plain]
    assert (outcome.mode, outcome.attempts, outcome.output, outcome.parsed) == (None, 1, "hello", None)


async def test_a_bare_prompt_is_a_users_turn():
    model = Model(GOOD)
    await ask(model, generation=msgspec.structs.replace(ASKED, turns=(), prompt=Prompt(texts=("hi",))))
    assert [turn.role for turn in model.asked[0].turns] == [Role.SYSTEM, Role.USER]


@pytest.mark.parametrize(
    ("fields", "param"), [({"tools": (Tool(name="f"),)}, "tools"), ({"sampling": Sampling(n=2)}, "n")]
)
async def test_tools_and_several_answers_are_refused(fields, param):
    model = Model(GOOD)
    with pytest.raises(InvalidRequest) as caught:
        await ask(model, generation=msgspec.structs.replace(ASKED, **fields))
    assert (caught.value.param, model.asked) == (param, [])


async def test_long_answers_are_looked_through_elsewhere_and_endless_ones_not_at_all():
    words = "word " * 10_000
    assert (await ask(Model(f"{words}{GOOD}"))).parsed["people"] == 2
    with pytest.raises(SchemaValidationFailed, match="longer than"):
        await ask(Model(*["x" * (1 << 20) + "x"] * 3))


async def test_uncounted_tokens_stay_uncounted():
    assert (await ask(Model("x", GOOD, usage=None))).usage is None


def nested(depth, name="items"):
    schema = {}
    for _ in range(depth):
        schema = {name: schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "strange"}, "/type"),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum"),
        ({"$ref": "http://127.0.0.1:9/x"}, "disabled"),
        ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern"),
        ({"pattern": "^(?=a)"}, "look around"),
        ({"pattern": "((a{100}){100}){100}"}, "huge"),
        ({"$schema": "http://x.test/draft"}, "meta-schema"),
        (nested(64), "deeper than 64"),
        (nested(900), "deeper than 64"),
        (nested(5_000, "not"), "deeper than 64"),
        ({"enum": list(range(30_000))}, "20000 parts"),
        ({"description": "x" * 300_000}, "256 KiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_schema_that_cannot_be_used_is_refused_before_anybody_is_asked(schema, says):
    model = Model(GOOD)
    with pytest.raises(InvalidRequest, match=says) as caught:
        await ask(model, generation=msgspec.structs.replace(ASKED, answer=JsonAnswer(schema=schema)))
    assert caught.value.param == "json_schema"
    assert len(caught.value.message) < 500
    assert model.asked == []


async def test_patterns_take_no_longer_than_the_text():
    schema = await Bench().look_over({"pattern": "^(a+)+$"})
    assert await schema.flaws("a" * 5_000 + "!")


async def test_flaws_are_pointers_and_not_endless():
    schema = await Bench().look_over({"type": "array", "items": {"properties": {"x/y~": {"type": "string"}}}})
    flaws = await schema.flaws([{"x/y~": place} for place in range(50)])
    assert flaws[0] == Flaw("/0/x~1y~0", '0 is not of type "string"')
    assert len(flaws) == 20
    assert len((await schema.flaws("x" * 5_000))[0].message) < 400


SIMPLE = st.sampled_from(["string", "integer", "boolean", "null", "number"]).map(lambda kind: {"type": kind})
SCHEMAS = st.recursive(
    SIMPLE,
    lambda inner: (
        st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3).map(
            lambda fields: {"type": "object", "properties": fields, "required": sorted(fields)}
        )
        | inner.map(lambda items: {"type": "array", "items": items, "maxItems": 3})
    ),
    max_leaves=6,
)


def example(schema):
    match schema["type"]:
        case "object":
            return {name: example(inner) for name, inner in schema["properties"].items()}
        case "array":
            return [example(schema["items"])]
        case kind:
            return {"string": 'a "b" {', "integer": 7, "boolean": True, "null": None, "number": 1.5}[kind]


@given(SCHEMAS, st.sampled_from(["{}", "```json\n{}\n```", "Sure:\n{}"]))
async def test_what_meets_the_schema_is_taken_as_it_is(schema, frame):
    value = example(schema)
    if not isinstance(value, dict | list):
        frame = "{}"
    said = frame.replace("{}", json.dumps(value), 1)
    outcome = await ask(Model(said), generation=msgspec.structs.replace(ASKED, answer=JsonAnswer(schema=schema)))
    assert (outcome.parsed, outcome.attempts, outcome.repaired) == (value, 1, False)


@given(st.text(max_size=80) | st.text(st.sampled_from('{}[]":,a1 '), max_size=40))
async def test_whatever_a_model_says_what_comes_out_meets_the_schema_or_is_an_error(said):
    outcome = None
    with contextlib.suppress(SchemaValidationFailed):
        outcome = await ask(Model(said, said, said))
    assert outcome is None or isinstance(outcome.parsed["city"], str)
