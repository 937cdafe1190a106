"""What classifying costs: `python -m bench.classify`; every figure is that of the machine it runs on."""

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import enginehouse
from bench.random_bert import write_random_bert
from enginehouse.core.prediction_cache import PredictionCache, Remembered
from enginehouse.engines.onnx import open_classifier
from enginehouse.engines.onnx.classifier import OnnxClassifier
from enginehouse.settings.schema import PredictionSettings
from enginehouse.types import Deployment, EngineName, Kind, Model

__all__ = ["main"]

MODELS = Path(enginehouse.__file__).parent / "models"
TOKENS, TIMED, WARM_UP = 128, 200, 10
CALLERS, ROUNDS = 32, 6
LENGTHS, FEW = (4, 8, 16, 32, 128), (4, 16)
"""Tokens of the texts of many callers, special ones included; fewer lengths for a large model."""
ASKED, TEXTS = 100_000, 5_000
"""Requests of the replay, and different texts in it."""
RESERVED = 2
"""Special tokens of a text."""


def percentile(times: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return sorted(times)[min(int(len(times) * share), len(times) - 1)] * 1000


def text_of(word: str, tokens: int) -> str:
    """So many tokens, special ones included."""
    return f"{word} " * (tokens - RESERVED)


async def one_by_one(classifier: OnnxClassifier, text: str, count: int) -> list[float]:
    """Seconds of each, one after the other."""
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await classifier.classify([text])
        times.append(time.perf_counter() - began)
    return times


async def loads(folder: Path, word: str, lengths: Sequence[int], timed: int = TIMED) -> None:
    """Load, warm-up of ten, and then the time of a text of 128 tokens and the gain of batches.

    Args:
        folder: the model.
        word: one token of its vocabulary.
        lengths: tokens of the texts of many callers.
        timed: how many texts are timed.
    """
    began = time.perf_counter()
    async with open_classifier(folder) as classifier:
        loaded = time.perf_counter()
        await one_by_one(classifier, text_of(word, 20), WARM_UP)
        warmed = time.perf_counter()
        asked = await classifier.classify([text_of(word, TOKENS)])
        busy = time.process_time()
        times = await one_by_one(classifier, text_of(word, TOKENS), timed)
        busy = (time.process_time() - busy) / timed
        print(f"{folder.name}: load {loaded - began:.2f} s, warm-up of {WARM_UP} {warmed - loaded:.2f} s")
        print(
            f"  {asked.tokens} tokens: p50 {percentile(times, 0.5):.1f} ms, p95 {percentile(times, 0.95):.1f} ms, "
            f"fastest {min(times) * 1000:.1f} ms, of the processor {busy * 1000:.1f} ms"
        )
        async with open_classifier(folder, batch_tokens=1) as unbatched:
            for tokens in lengths:
                await gains(classifier, unbatched, word, tokens)


async def gains(batched: OnnxClassifier, unbatched: OnnxClassifier, word: str, tokens: int) -> None:
    """Texts a second of 32 callers at once, with and without batches, by the clock and by the processor.

    Both ways have the same door, the same one thread to run in, and the same callers; without batches every text is
    a run of its own. They take turns, so that what else the machine does weighs on both.
    """
    text = text_of(word, tokens)
    rounds: list[tuple[float, float, float, float]] = []
    for _ in range(ROUNDS):
        alone, together = [await crowd(classifier, text) for classifier in (unbatched, batched)]
        rounds.append((*alone, *together))
    slow, dear, fast, cheap = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"  {CALLERS} callers, {tokens} tokens each: {CALLERS / slow:.0f} texts/s in runs of one, "
        f"{CALLERS / fast:.0f} in batches ({slow / fast:.1f} times; by processor time {dear / cheap:.1f} times)"
    )


async def crowd(classifier: OnnxClassifier, text: str) -> tuple[float, float]:
    """Seconds by the clock and of the processor until all callers have their answer."""
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(classifier.classify([text]) for _ in range(CALLERS)))
    return time.perf_counter() - began, time.process_time() - busy


async def large() -> None:
    """The same of a model of a hundred million numbers, which mean nothing."""
    with TemporaryDirectory() as folder:
        numbers = write_random_bert(path := Path(folder) / "random-bert")
        print(f"random-bert has {numbers / 1e6:.0f} million numbers")
        await loads(path, "king", FEW, TIMED // 2)


def replay() -> None:
    """How many of Zipf-distributed requests the memory answers."""
    chance = random.Random(9)
    weights = [1 / rank**1.1 for rank in range(1, TEXTS + 1)]
    cache = PredictionCache(PredictionSettings(), time.monotonic)
    place = Deployment(id="guard", model="guard", kind=Kind.CLASSIFIER, engine=EngineName.ONNX)
    model = Model(id="guard", kind=Kind.CLASSIFIER, deployments=(place,))
    said = Remembered(labels=("a", "b"), scores=(0.5, 0.5), truncated=False)
    for number in chance.choices(range(TEXTS), weights, k=ASKED):
        if cache.get(model, str(number)) is None:
            cache.put(model, str(number), said)
    print(f"Zipf replay of {ASKED} requests: {cache.hits / ASKED:.1%} from memory")


def main() -> None:
    """Print every figure."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--model", type=Path, default=MODELS / "guard", help="the folder to measure first")
    options = arguments.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one thread a model")
    asyncio.run(loads(options.model, "hello", LENGTHS))
    asyncio.run(large())
    replay()


if __name__ == "__main__":
    main()
