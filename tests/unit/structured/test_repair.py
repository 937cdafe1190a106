"""JSON as models write it: what is understood, what is refused, and that it takes no longer than it is long."""

import contextlib
import json
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.structured.extract import candidates
from enginehouse.core.structured.repair import mend

names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=6)
scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
wholes = st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=6), values, max_size=3)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)
plains = st.lists(plain, max_size=3) | st.dictionaries(names, plain, max_size=3)


@given(wholes, st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_json(value, indent, ascii_only):
    assert mend(json.dumps(value, indent=indent, ensure_ascii=ascii_only)).value == value


@given(plains)
def test_what_python_would_write_is_understood(value):
    assert mend(repr(value)).value == value


@given(wholes)
def test_commas_too_many_change_nothing(value):
    text = json.dumps(value)
    quoted = False
    made = []
    for place, mark in enumerate(text):
        quoted ^= mark == '"' and (len(text[:place]) - len(text[:place].rstrip("\\"))) % 2 == 0
        made.append(f",{mark}" if mark in "]}" and not quoted else mark)
    assert mend("".join(made)).value == value


def within(part, whole):
    """Whether a value is what is left of another, when its end is cut off."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and within(part[name], whole[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) <= len(whole) and all(map(within, part, whole))
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part.rstrip("\ufffd"))
    return part == whole or isinstance(part, int | float)


@settings(max_examples=200)
@given(wholes, st.data())
def test_what_is_cut_off_is_closed_and_says_so(value, data):
    text = json.dumps(value, ensure_ascii=False)
    end = data.draw(st.integers(1, len(text) - 1))
    with contextlib.suppress(ValueError):
        mended = mend(text[:end])
        assert mended.closed
        assert within(mended.value, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ("[1, 2, , 3,]", [1, 2, 3]),
        ('{"a": 1\n "b": 2}', {"a": 1, "b": 2}),
        ('["a"\n"b"]', ["a", "b"]),
        ("{a: 1, $b-c: 2}", {"a": 1, "$b-c": 2}),
        ("{'a': 'it\\'s'}", {"a": "it's"}),
        ("{'a': 'it's'}", {"a": "it's"}),
        ("{\u201ca\u201d: \u201cb\u201d}", {"a": "b"}),
        ('{"a": "he said "hi" to me"}', {"a": 'he said "hi" to me'}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ('{"a": 1} // done', {"a": 1}),
        ('/* first */ {"a": /* x */ 1 // y\n}', {"a": 1}),
        ("[True, False, None, +1, .5, 01, 1., 1e3]", [True, False, None, 1, 0.5, 1, 1, 1000.0]),
        (r'["\ud83e\udd14 \x41 \d \u00e9 \ud800"]', ["🤔 A d é \ufffd"]),
    ],
)
def test_slips_of_the_pen(text, value):
    mended = mend(text)
    assert (mended.value, mended.closed) == (value, False)
    msgspec.json.encode(mended.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, {"b": "x', {"a": [1, {"b": "x"}]}),
        ('{"a": 1, "b"', {"a": 1}),
        ('{"a": 1, "b":', {"a": 1}),
        ('{"a": 1, "b": tru', {"a": 1}),
        ('{"a": 1, "b": "x\\', {"a": 1, "b": "x"}),
        ("[", []),
    ],
)
def test_an_end_that_is_missing(text, value):
    assert (mend(text).value, mend(text).closed) == (value, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "hello",
        "12",
        '"a"',
        "{1}",
        "{]",
        '{"a" 1}',
        '{"a": 1} and more',
        "[1e999]",
        "[nonsense]",
        "[" * 200,
    ],
)
def test_what_is_still_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"it |there "):
        mend(text)


@settings(max_examples=300)
@given(st.text(st.sampled_from("{}[]\"'\\,:/*a1.-\n \u201c\u201d"), max_size=60) | st.text(max_size=60))
def test_nothing_else_escapes(text):
    for candidate in candidates(text):
        with contextlib.suppress(ValueError):
            msgspec.json.encode(mend(candidate).value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        '["' * 50_000,
        '"' * 100_000,
        '{"a": "' + '" ' * 50_000,
        "[" + "/*" * 50_000,
        "[" + " " * 100_000,
        "[" + "1," * 50_000,
        "```" * 30_000,
        "```\n" * 30_000,
        "{}" * 50_000,
        "[" + "\\" * 100_000,
        '["' + "\\" * 100_000,
    ],
)
def test_time_grows_with_the_length_alone(text):
    began = time.process_time()
    for candidate in candidates(text):
        with contextlib.suppress(ValueError):
            mend(candidate)
    assert time.process_time() - began < 5


JSON = '{"a": {"b": "} ] \\" {"}, "c": [1]}'


@given(
    st.sampled_from(
        [
            "{}",
            "Here it is:\n\n{}\n\nHope that helps!",
            "```json\n{}\n```",
            "Sure [1]:\n```\n{}\n```\nand more",
            "```json\n{}",
            '<think>maybe {{"a": 1}}?</think>{}',
            "Some {{words}} in braces, then {} and [others].",
            "The answer: `{}`",
        ]
    )
)
def test_json_is_found_among_words(frame):
    text = frame.replace("{{", "\0").replace("}}", "\1").replace("{}", JSON).replace("\0", "{").replace("\1", "}")
    assert JSON in candidates(text)
    assert len(candidates(text)) <= 8


def test_an_end_that_is_missing_is_found_too():
    assert candidates('Well: {"a": [1, 2], "b')[-1] == '{"a": [1, 2], "b'
    assert "[1, 2]" not in candidates('{"a": [1, 2], "b')
