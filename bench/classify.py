"""What classifying costs: `python -m bench.classify`; every figure is that of the machine it runs on."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import enginehouse
from enginehouse.core.prediction_cache import PredictionCache, Remembered
from enginehouse.engines.onnx import open_classifier
from enginehouse.engines.onnx.classifier import OnnxClassifier
from enginehouse.settings.schema import PredictionSettings
from enginehouse.types import Deployment, EngineName, Kind, Model

__all__ = ["main"]

GUARD = Path(enginehouse.__file__).parent / "models" / "guard"
CALLERS, ROUNDS = 32, 8
ASKED, TEXTS = 100_000, 5_000
"""Requests of the replay, and different texts in it."""


def percentile(times: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return sorted(times)[min(int(len(times) * share), len(times) - 1)] * 1000


async def one_by_one(classifier: OnnxClassifier, text: str, count: int) -> list[float]:
    """Seconds of each, one after the other."""
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await classifier.classify([text])
        times.append(time.perf_counter() - began)
    return times


async def loads(folder: Path, tokens: int) -> None:
    """Load, warm-up of ten, and then the time of a text of so many tokens."""
    began = time.perf_counter()
    async with open_classifier(folder) as classifier:
        loaded = time.perf_counter()
        await one_by_one(classifier, "hello " * 20, 10)
        warmed = time.perf_counter()
        times = await one_by_one(classifier, "hello " * (tokens - 2), 60)
        print(f"load {loaded - began:.2f} s, warm-up of 10 {warmed - loaded:.2f} s")
        print(
            f"{tokens} tokens: p50 {percentile(times, 0.5):.1f} ms, p95 {percentile(times, 0.95):.1f} ms, "
            f"mean {statistics.mean(times) * 1000:.1f} ms"
        )
        await gains(classifier)


async def gains(classifier: OnnxClassifier) -> None:
    """Texts a second of 32 callers: in turn, and at the same time."""
    texts = [f"what is the capital of country number {number}" for number in range(CALLERS)]
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for text in texts:
            await classifier.classify([text])
    alone = CALLERS * ROUNDS / (time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        await asyncio.gather(*(classifier.classify([text]) for text in texts))
    together = CALLERS * ROUNDS / (time.perf_counter() - began)
    print(f"{CALLERS} callers: {alone:.0f} texts/s in turn, {together:.0f} at once ({together / alone:.1f} times)")


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
    asyncio.run(loads(GUARD, 128))
    replay()


if __name__ == "__main__":
    main()
