"""Estimates of what a model takes, with and without GPUs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.llama_server import divided_bytes, estimated_bytes
from enginehouse.engines.llama_server.flags import understood_flags
from enginehouse.engines.metadata import ModelCard, Weight
from enginehouse.types import Deployment, EngineName, Kind

MIB = 1024 * 1024
PROGRAM, BUFFERS = 64 * MIB, 512 * MIB
CARD = ModelCard(
    path=Path("m.gguf"),
    kind=Kind.CHAT,
    engine=EngineName.LLAMA_SERVER,
    name="m",
    context_length=1000,
    kv_numbers=500,
    layers=9,
    size=1000 * MIB,
)
CACHE = 1000 * 500 * 2


def deployment(*flags, **changes):
    return Deployment(
        id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, flags=tuple(flags), **changes
    )


def test_by_default_everything_goes_to_the_gpus():
    divided = divided_bytes(deployment(), CARD)
    assert divided == Weight(ram=PROGRAM, vram=CARD.size + CACHE + BUFFERS)


@pytest.mark.parametrize("flags", [("-ngl", "99"), ("-ngl", "10"), ("--n-gpu-layers", "all"), ("-ngl", "-1")])
def test_all_layers_and_the_output_is_everything(flags):
    assert divided_bytes(deployment(*flags), CARD) == divided_bytes(deployment(), CARD)


def test_half_of_the_layers_is_half_of_the_weights():
    divided = divided_bytes(deployment("-ngl", "5"), CARD)
    moved = round(CACHE * 5 / 9)
    assert divided.vram == CARD.size // 2 + moved + BUFFERS
    assert divided.ram == CARD.size // 2 + PROGRAM + CACHE - moved


def test_no_layers_is_no_gpu():
    divided = divided_bytes(deployment("-ngl", "0"), CARD)
    assert (divided.ram, divided.vram) == (estimated_bytes(deployment(), CARD), 0)


def test_a_cache_may_stay_in_main_memory():
    divided = divided_bytes(deployment("-nkvo"), CARD)
    assert (divided.ram, divided.vram) == (PROGRAM + CACHE, CARD.size + BUFFERS)


@pytest.mark.parametrize(
    ("flags", "fixed", "split"),
    [
        (("-ts", "3,1"), True, (3.0, 1.0)),
        (("--tensor-split", "1/2"), True, (1.0, 2.0)),
        (("-sm", "none"), True, (1.0,)),
        (("-sm", "none", "-mg", "2"), True, (0.0, 0.0, 1.0)),
        (("-mg", "1"), True, ()),
        (("-sm", "row"), True, ()),
        (("--device=CUDA1",), True, ()),
        ((), False, ()),
    ],
)
def test_flags_say_how_it_is_divided(flags, fixed, split):
    weight = divided_bytes(deployment(*flags), CARD)
    assert (weight.fixed, weight.split) == (fixed, split)


@given(st.integers(-1, 50), st.integers(1, 40), st.integers(0, 10**12))
def test_nothing_is_lost_between_the_memories(layers, blocks, size):
    from msgspec import structs

    card = structs.replace(CARD, layers=blocks, size=size)
    divided = divided_bytes(deployment("-ngl", str(layers)), card)
    extra = BUFFERS if divided.vram else 0
    assert divided.ram + divided.vram == estimated_bytes(deployment(), card) + extra
    assert divided.ram >= PROGRAM


def test_flags_that_only_another_binary_knows_do_not_hide_the_others():
    flags = ("--spec-draft", "4", "-c", "100")
    assert understood_flags(flags)["ctx_size"] == 100
    assert understood_flags(("-c", "many")) == {}
