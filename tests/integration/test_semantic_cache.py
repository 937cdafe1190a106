"""The semantic cache with the real embedder, and its questions after `kill -9`."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

from bench.cache.pairs import meanings, surface
from enginehouse.core.cache.semantic import open_semantic
from enginehouse.core.cache.semantic.bound import interval
from enginehouse.core.cache.semantic.index import open_index
from enginehouse.core.catalogue import DEFAULT_MODELS
from enginehouse.engines.onnx import open_embedder
from enginehouse.settings.schema import SemanticCacheSettings
from enginehouse.stores.artifacts import Artifacts
from tests.integration.redis_server import RedisServer
from tests.integration.service import CACHE, Service, real_sources
from tests.integration.upstream import Upstream

SCOPE = b"scope"
WRITER = """
import asyncio, sys
from pathlib import Path
import numpy as np
from enginehouse.core.cache.semantic.index import Stored, open_index
from enginehouse.core.cache.semantic.signature import sign

async def write():
    async with open_index(Path(sys.argv[1]), lasting=True, max_bytes=10**7) as index:
        for number in range(100_000):
            vector = np.eye(1, 384, number % 384, dtype=np.float32)[0]
            await index.put(b"scope", f"e{number}", vector, Stored(sign(f"What is in room {number}?")))
            print(number, flush=True)

asyncio.run(write())
"""


@pytest.fixture
async def cache(tmp_path):
    stated = DEFAULT_MODELS["minilm"]
    folder = await Artifacts(CACHE / "artifacts", real_sources()).fetch(stated.source, stated.sha256)
    settings = SemanticCacheSettings.model_validate({"trial": 0, "audit": 0, "deadline": 10})
    async with open_embedder(folder, max_length=stated.context_length) as embedder:

        async def embed(texts):
            return (await embedder.embed(list(texts))).vectors

        async with open_semantic(settings, tmp_path, embed, lasting=False) as cache:
            yield cache


async def test_real_vectors_find_what_means_the_same_among_traps(cache):
    stored = ["How do I reset my Gmail password?", "How do I reset my Outlook password?", "How do I delete Gmail?"]
    for number, question in enumerate(stored):
        await cache.put(SCOPE, question, f"e{number}")
    asked = "Hi team, what's the best way to reset my gmail password please"
    assert (await cache.find(SCOPE, asked)).entry == "e0"
    assert await cache.find(SCOPE, "How do I reset my Yahoo password?") is None
    assert await cache.find(SCOPE, "How do I not reset my Gmail password?") is None
    explained = await cache.explain(SCOPE, "How do I not reset my Gmail password?")
    assert explained.candidates[0].vetoes == ("negation",)


async def test_a_zipf_stream_of_paraphrases_and_traps_is_served_within_the_bound(cache):
    """Labels are the generator's own: which thing each question asks for."""
    chance = random.Random(9)
    things = meanings(calibration=False)
    chance.shuffle(things)
    things = things[:400]
    weights = [1 / (rank + 1) ** 1.1 for rank in range(len(things))]
    kept, hits, wrong = dict[str, str](), 0, 0
    for number, thing in enumerate(chance.choices(things, weights, k=500)):
        text = surface(thing, chance)
        match = await cache.find(SCOPE, text)
        if match is None:
            kept[f"e{number}"] = thing.key
            await cache.put(SCOPE, text, f"e{number}")
        else:
            hits += 1
            wrong += kept[match.entry] != thing.key
    assert hits > 0.33 * 500
    assert interval(wrong, hits)[0] <= 0.01


def test_what_was_put_is_found_after_kill_9_and_index_and_table_are_in_step(tmp_path):
    file = tmp_path / "questions.db"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE) as writer:
            done = -1
            until = time.monotonic() + 60
            while done < 20 and time.monotonic() < until:
                done = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            done = max([done, *(int(line) for line in writer.stdout.read().split(b"\n")[:-1])])
        assert done >= 20
        asyncio.run(_in_step(file, done))


async def _in_step(file, done):
    async with open_index(file, lasting=True, max_bytes=10**7) as index:
        count = await index.count()
        found = await index.nearest(SCOPE, np.full(384, 384**-0.5, dtype=np.float32), count + 10)
        assert len(found) == count >= done + 1
        assert {f"e{number}" for number in range(done + 1)} <= {entry for entry, _, _ in found}


def test_the_service_answers_a_question_in_other_words_and_says_so(tmp_path):
    asked, same, other = (
        "How do I reset my Gmail password?",
        "What's the best way to reset my gmail password please",
        "How do I reset my Yahoo password?",
    )
    with Upstream() as upstream:
        for text in (asked, same, other):
            upstream.heard[text].set()
        well = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
        semantic = {"trial": 0, "audit": 0, "deadline": 10}
        config = {"models": {"well": well}, "cache": {"enabled": True, "semantic": semantic}}
        with Service(tmp_path, config) as house:

            def tier(text):
                body = {"model": "well", "messages": [{"role": "user", "content": text}]}
                status, _, headers = house.call("/v1/chat/completions", body)
                return status, headers["X-Enginehouse-Cache"]

            assert tier(asked) == (200, "miss")
            house.wait_until(lambda: house.call("/v1/cache/stats")[1]["semantic"]["bytes"] > 0, 30)
            assert tier(same) == (200, "semantic")
            assert tier(other) == (200, "miss")
            assert same not in upstream.asked


def test_what_one_replica_was_asked_another_answers_in_other_words(tmp_path):
    asked, same = "How do I reset my Gmail password?", "What's the best way to reset my gmail password please"
    with Upstream() as upstream, RedisServer(tmp_path) as redis:
        for text in (asked, same):
            upstream.heard[text].set()
        well = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
        config = {
            "models": {"well": well},
            "auth": {"key_secret": "k" * 40},
            "stores": {"redis_url": redis.url},
            "cache": {"enabled": True, "semantic": {"trial": 0, "audit": 0, "deadline": 10}},
        }

        def replica(name):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "artifacts").symlink_to(CACHE / "artifacts")
            return Service(folder, {**config, "data_dir": str(folder)})

        def tier(house, text):
            body = {"model": "well", "messages": [{"role": "user", "content": text}]}
            return house.call("/v1/chat/completions", body)[2]["X-Enginehouse-Cache"]

        def known(house):
            with closing(sqlite3.connect(house.folder / "cache" / "questions.db")) as rows:
                return rows.execute("SELECT count(*) FROM rows").fetchone()[0]

        with replica("here") as here, replica("there") as there:
            assert tier(here, asked) == "miss"
            here.wait_until(lambda: known(here) == 1, 30)
            assert there.wait_until(lambda: known(there) == 1, 5) <= 1
            assert tier(there, same) == "semantic"
            assert same not in upstream.asked


def test_after_kill_9_index_and_store_are_in_step(tmp_path):
    """What was stored is found again; what the store has lost meanwhile is not, and its vector goes."""
    kept, lost = "How do I reset my Gmail password?", "How do I water an orchid?"
    said = {kept: "hi, how can I reset my gmail password please", lost: "hi, how can I water an orchid please"}
    with Upstream() as upstream, RedisServer(tmp_path) as redis:
        for text in (*said, *said.values()):
            upstream.heard[text].set()
        well = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
        semantic = {"trial": 0, "audit": 0, "deadline": 10}
        config = {
            "models": {"well": well},
            "auth": {"key_secret": "k" * 40},
            "stores": {"redis_url": redis.url},
            "cache": {"enabled": True, "semantic": semantic},
        }
        house = Service(tmp_path, config)

        def ask(text, **headers):
            body = {"model": "well", "messages": [{"role": "user", "content": text}]}
            return house.call("/v1/chat/completions", body, **headers)[2]

        with house:
            asked = {text: ask(text)["X-Request-ID"] for text in said}
            house.wait_until(lambda: house.call("/v1/cache/stats")[1]["semantic"]["stored"] == 2, 30)
            entry = house.call(f"/v1/cache/explain?request_id={asked[lost]}")[1]["question"]
            house.process.send_signal(signal.SIGKILL)
            house.process.wait()
        redis.client.delete(f"enginehouse:cache:entry:{entry}")
        with house:
            house.wait_until(lambda: ask(said[kept])["X-Enginehouse-Cache"] == "semantic", 30)
            assert ask(said[lost])["X-Enginehouse-Cache"] == "miss"
            assert said[kept] not in upstream.asked


def test_without_its_embedder_the_cache_goes_on_and_says_so_once(tmp_path):
    texts = ["How do I reset my Gmail password?", "What is the capital of France?"]
    with Upstream() as upstream:
        well = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
        config = {"models": {"well": well}, "default_models": False, "cache": {"enabled": True}}
        with Service(tmp_path, config) as house:
            for text in texts:
                upstream.heard[text].set()
                for tier in ("miss", "exact"):
                    body = {"model": "well", "messages": [{"role": "user", "content": text}]}
                    assert house.call("/v1/chat/completions", body)[2]["X-Enginehouse-Cache"] == tier
            house.wait_until(lambda: "semantic_cache_has_no_vectors" in house.log(), 10)
            assert house.log().count("semantic_cache_has_no_vectors") == 1
