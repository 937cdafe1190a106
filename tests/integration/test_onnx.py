"""The default embedding model, for real: the numbers it is known for."""

import asyncio
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from enginehouse.core.catalogue import DEFAULT_MODELS
from enginehouse.engines.onnx import open_embedder
from enginehouse.stores.artifacts import Artifacts
from tests.integration.service import CACHE, real_sources

STATED = DEFAULT_MODELS["minilm"]
KNOWN_TEXT = "How do I reset my password?"


@pytest.fixture(scope="module")
def folder():
    """model.onnx and tokenizer.json of the default model, fetched once."""
    artifacts = Artifacts(CACHE / "artifacts", real_sources())
    return asyncio.run(artifacts.fetch(STATED.source, STATED.sha256))


@pytest.fixture
async def minilm(folder):
    async with open_embedder(folder, max_length=STATED.context_length) as embedder:
        yield embedder


async def test_near_words_are_near(minilm):
    king, queen, carburettor = np.array((await minilm.embed(["king", "queen", "carburettor"])).vectors)
    assert king @ queen == pytest.approx(0.68, abs=0.01)
    assert king @ carburettor < 0.25
    assert (len(king), king @ king) == (384, pytest.approx(1, abs=1e-5))


async def test_a_batch_gives_what_single_texts_give(minilm):
    texts = [KNOWN_TEXT, "king", "A much longer text. " * 20, "", "Über den Wolken"] * 4
    together = np.array((await minilm.embed(texts)).vectors)
    alone = np.array([(await minilm.embed([text])).vectors[0] for text in texts[:5]] * 4)
    assert np.abs(together - alone).max() < 1e-5


async def test_tokens_are_real_and_what_is_cut_at_256_is_told(minilm):
    assert list(await minilm.tokenize("king")) == [2332]
    assert (await minilm.embed(["king"])).tokens == 3
    answer = await minilm.embed(["word " * 254, "word " * 255])
    assert (answer.tokens, answer.truncated) == (512, (1,))


async def test_the_loop_is_free_while_it_works(minilm):
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        await minilm.embed(["word " * 250] * 8 + ["hello " * 20_000])
        watcher.cancel()
    assert longest < 0.1


async def test_a_short_text_is_quick(minilm):
    """4 ms on an idle machine; the bound leaves room for a busy one."""
    times = []
    for _ in range(20):
        before = time.perf_counter()
        await minilm.embed([KNOWN_TEXT])
        times.append(time.perf_counter() - before)
    assert min(times) < 0.03


async def test_leaving_gives_the_memory_back(folder):
    process = psutil.Process()
    async with open_embedder(folder):
        pass
    before = process.memory_info().rss
    async with open_embedder(folder):
        held = process.memory_info().rss - before
    kept = process.memory_info().rss - before
    assert held > 60e6
    assert kept < held / 4


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_runtime_says_what_to_install(package, folder):
    script = f"""
import asyncio, pathlib, sys
sys.modules[{package!r}] = None
from enginehouse.engines.onnx import open_embedder
from enginehouse.errors import ModelLoadFailed
async def main():
    try:
        async with open_embedder(pathlib.Path({str(folder)!r})):
            pass
    except ModelLoadFailed as error:
        print(error.message)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"ONNX models need the package {package}; run: pip install 'enginehouse[local]'\n"
