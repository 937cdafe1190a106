"""Schemas that take long, judged by a child: in bounded time, and without holding anybody up."""

import asyncio
import time

import psutil
import pytest

from enginehouse.core.structured.schema import Bench, Flaw
from enginehouse.errors import InvalidRequest

pytestmark = pytest.mark.integration

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
        }
    },
}


def doubling(times, keyword="anyOf", leaf="string"):
    """Small to write, and twice as long to check with every step."""
    steps = {f"a{i}": {keyword: [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(times)}
    return {"$defs": {**steps, f"a{times}": {"type": leaf}}, "$ref": "#/$defs/a0"}


def children():
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


async def test_a_schema_that_refers_to_itself_is_judged():
    schema = await Bench().look_over(TREE)
    good = {"name": "a", "children": [{"name": "b"}]}
    assert await schema.flaws(good) == ()
    assert await schema.flaws({"name": "a", "children": [{"name": 7}]}) == (
        Flaw("/children/0/name", '7 is not of type "string"'),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
async def test_circles_come_to_an_end(fields):
    began = time.monotonic()
    schema = await Bench().look_over(fields)
    await schema.flaws({"a": 1})
    assert time.monotonic() - began < 10


async def test_what_would_take_for_ever_is_refused_in_time_and_nobody_waits_for_it():
    bench = Bench(seconds=1.5)
    schema = await bench.look_over(doubling(40))
    before, ticks = children(), 0
    began = time.monotonic()
    judging = asyncio.ensure_future(schema.flaws(1))
    while not judging.done():
        await asyncio.sleep(0.01)
        ticks += 1
    with pytest.raises(InvalidRequest, match=r"takes more than 1.5 s") as caught:
        await judging
    assert caught.value.param == "json_schema"
    assert time.monotonic() - began < 5
    assert ticks > 10
    assert children() == before


async def test_who_leaves_leaves_no_child_behind():
    schema = await Bench(seconds=30).look_over(doubling(40))
    before = children()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await schema.flaws(1)
    assert children() == before


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"$ref": "other.json"}, "disabled|not present"),
        ({"$ref": "file:///etc/passwd"}, "disabled|not present"),
        ({"$defs": {"a": {"$ref": "#"}}, "type": "strange"}, "/type"),
        ({"properties": {f"p{i}": {"pattern": "("} for i in range(20)}}, "/properties/p"),
    ],
)
async def test_heavy_schemas_are_looked_over_as_light_ones_are(fields, says):
    with pytest.raises(InvalidRequest, match=says):
        await Bench().look_over(fields)


async def test_a_large_value_under_a_light_schema_is_judged_by_a_child_too():
    schema = await Bench().look_over({"type": "array", "items": {"type": "integer", "minimum": 0}})
    assert await schema.flaws(list(range(60_000))) == ()
    assert await schema.flaws([*range(60_000), -1]) == (Flaw("/60000", "-1 is less than the minimum of 0"),)


async def test_what_is_known_to_be_wrong_is_wrong_even_if_it_takes_too_long_to_say_why():
    """The validator tells of everything at once, and in many words."""
    fields = {"type": "string"}
    for _ in range(6):
        fields = {"anyOf": [{"not": fields}, {"not": fields}]}
    fields = {"items": fields}
    schema = await Bench(seconds=0.01).look_over(fields)
    assert await schema.flaws([1] * 100) == (Flaw("", "it does not meet the schema"),)


async def test_many_patterns_and_many_parts_are_possible():
    fields = {"properties": {f"p{i}": {"type": "string", "pattern": f"^x{i}$"} for i in range(300)}}
    schema = await Bench().look_over(fields)
    assert [flaw.path for flaw in await schema.flaws({"p7": "x7", "p8": "no"})] == ["/p8"]
