"""Engines on GPUs, as far as a machine without one can show it: what they are asked, told and given."""

import os
import sys
from pathlib import Path

import pytest
from msgspec import structs

from enginehouse.engines.llama_server import device_list_command
from enginehouse.residency.launchers.devices import lists_gpus
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.manager import Residency
from enginehouse.residency.placement import gpus_of
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeMachine
from enginehouse.types import Deployment, EngineName, Kind
from tests.integration.children import FAKE

GIB = 1024**3
CARDS = "  CUDA0: NVIDIA A (24564 MiB, 24000 MiB free)\n  CUDA1: NVIDIA B (24564 MiB, 24000 MiB free)"


class Here:
    """Satisfies `Files` for what is on this machine already."""

    async def fetch(self, source, sha256, watcher):
        return Path(source)


def engine_that_lists(folder, listed, code=0):
    """A llama-server that notes how it was started; asked for its devices, it says what it is told to."""
    program = folder / "llama-server"
    program.write_text(
        f"""#!/bin/sh
if [ "$1" = --list-devices ]; then echo x >> {folder}/asked; printf '%s\\n' '{listed}'; exit {code}; fi
echo "$CUDA_VISIBLE_DEVICES:" "$@" > {folder}/started
exec {sys.executable} -I -S {FAKE} "$@"
"""
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def house_of(tmp_path, gguf):
    def build(listed, code=0):
        program = engine_that_lists(tmp_path, listed, code)
        environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1"}
        launcher = LlamaLauncher(Here(), binary=program, environ=environ, silence=60, grace=2)
        machine = FakeMachine(64 * GIB, (2 * GIB, 2 * GIB))
        return Residency({EngineName.LLAMA_SERVER: launcher}, ResidencySettings(), machine=machine)

    return build


def deployment(tmp_path, gguf, name, *flags):
    script = tmp_path / f"{name}.json"
    script.write_text("{}")
    return Deployment(
        id=name,
        model=name,
        kind=Kind.CHAT,
        engine=EngineName.LLAMA_SERVER,
        source=str(gguf),
        context_length=2048,
        flags=("--script", str(script), *flags),
    )


def started(tmp_path):
    visible, *argv = (tmp_path / "started").read_text().split()
    return visible.removesuffix(":"), argv


async def test_a_model_is_started_on_the_gpu_where_it_has_room(tmp_path, gguf, house_of):
    async with house_of(f"Available devices:\n{CARDS}") as house:
        for name, gpu in (("one", 0), ("two", 1)):
            await house.load(deployment(tmp_path, gguf, name))
            assert list(gpus_of(house.memory.entries[name])) == [gpu]
            visible, argv = started(tmp_path)
            assert visible == str(gpu)
            assert "--tensor-split" not in argv
    assert (tmp_path / "asked").read_text().split() == ["x"]


async def test_a_model_too_large_for_one_is_divided_as_its_room_is(tmp_path, gguf, house_of):
    async with house_of(f"Available devices:\n{CARDS}") as house:
        large = deployment(tmp_path, gguf, "large", "-c", "52000")
        await house.load(large)
        place = gpus_of(house.memory.entries["large"])
        visible, argv = started(tmp_path)
        assert visible == "0,1"
        shares = argv[argv.index("--tensor-split") + 1]
        assert [int(share) for share in shares.split(",")] == [place[0] >> 20, place[1] >> 20]


async def test_flags_that_say_where_are_left_as_they_are(tmp_path, gguf, house_of):
    async with house_of(f"Available devices:\n{CARDS}") as house:
        await house.load(deployment(tmp_path, gguf, "own", "--tensor-split", "0,1"))
        assert list(gpus_of(house.memory.entries["own"])) == [1]
        visible, argv = started(tmp_path)
        assert (visible, argv.count("--tensor-split")) == ("0,1", 1)


async def test_an_embedder_that_fits_on_none_sees_none(tmp_path, gguf, house_of):
    async with house_of(f"Available devices:\n{CARDS}") as house:
        small = deployment(tmp_path, gguf, "small")
        await house.load(structs.replace(small, kind=Kind.EMBEDDING, flags=(*small.flags, "--embedding")))
        assert not gpus_of(house.memory.entries["small"])
        assert started(tmp_path)[0] == ""


async def test_an_engine_built_without_gpus_takes_main_memory(tmp_path, gguf, house_of):
    async with house_of("Available devices:\n  CPU: some processor (64 MiB, 64 MiB free)") as house:
        await house.load(deployment(tmp_path, gguf, "one"))
        assert not gpus_of(house.memory.entries["one"])


async def test_an_engine_that_does_not_know_the_question_is_taken_to_use_them(tmp_path, gguf, house_of):
    async with house_of("error: invalid argument: --list-devices", code=1) as house:
        await house.load(deployment(tmp_path, gguf, "one"))
        assert gpus_of(house.memory.entries["one"])


async def test_the_bundled_engine_says_what_it_can_run_on():
    from enginehouse.residency.machine import open_driver

    if open_driver() is None:
        assert not await lists_gpus(device_list_command(None), os.environ)
