"""What llama-server flags say about a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.settings.flags import read as read_flags
from enginehouse.types import Kind


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", {}),
        ("-ngl 99 --mlock --jinja", {}),
        ("--embedding", {"kind": "embedding"}),
        ("--embeddings", {"kind": "embedding"}),
        ("--rerank", {"kind": "rerank"}),
        ("--reranking --embedding", {"kind": "rerank"}),
        ("--embedding --pooling rank", {"kind": "rerank"}),
        ("--embedding --pooling mean", {"kind": "embedding"}),
        ("-c 4096", {"context_length": 4096}),
        ("--ctx-size 8192 --parallel 2", {"context_length": 4096, "slots": 2}),
        ("-np 4 -c 8192", {"context_length": 2048, "slots": 4}),
        ("-np 4 -c 8192 -kvu", {"context_length": 8192, "slots": 4}),
        ("-c 1024 -c 2048", {"context_length": 2048}),
        ("-c 0", {}),
        ("-c", {}),
        ("-c many -np -1", {}),
    ],
)
def test_flags_say(flags, said):
    assert read_flags(flags.split()) == said


def test_context_is_shared_by_the_default_slots():
    assert read_flags(["-c", "8192"], default_slots=4) == {"context_length": 2048}


@given(st.integers(1, 10**7), st.integers(1, 64))
def test_the_slots_never_hold_more_than_the_context(size, slots):
    said = read_flags(["-c", str(size), "-np", str(slots)])
    assert said["slots"] == slots
    assert said["context_length"] * slots <= max(size, slots)


def test_own_keys_win_over_flags(read):
    model = read("models: {a: {flags: [-c, 8192, -np, 2, --embedding], kind: chat, context_length: 10}}").models[
        "a"
    ]
    assert (model.kind, model.context_length, model.slots) == (Kind.CHAT, 10, 2)


def test_flags_share_by_the_slots_of_the_model_or_of_the_house(read):
    text = "models: {a: {flags: [-c, 8192]}, b: {flags: [-c, 8192], slots: 2}}"
    models = read(text, ENGINEHOUSE_ADMISSION__DEFAULT_SLOTS="8").models
    assert (models["a"].context_length, models["b"].context_length) == (1024, 4096)


def test_what_was_read_from_flags_says_so(read):
    assert read("models: {a: {flags: [-np, 2], name: x}}").origins == {
        "models.a.flags": "file",
        "models.a.name": "file",
        "models.a.slots": "flags",
    }
