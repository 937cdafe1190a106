"""What classifying costs: `python -m bench.classify`; every figure is that of the machine it runs on."""

import asyncio
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
TOKENS, TIMED, WARM_UP = 128, 100, 10
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


async def loads(folder: Path, word: str) -> None:
    """Load, warm-up of ten, and then the time of a text of 128 tokens and the gain of batches.

    Args:
        folder: the model.
        word: one token of its vocabulary.
    """
    began = time.perf_counter()
    async with open_classifier(folder) as classifier:
        loaded = time.perf_counter()
        await one_by_one(classifier, f"{word} " * 20, WARM_UP)
        warmed = time.perf_counter()
        asked = await classifier.classify([f"{word} " * (TOKENS - 2)])
        busy = time.process_time()
        times = await one_by_one(classifier, f"{word} " * (TOKENS - 2), TIMED)
        busy = (time.process_time() - busy) / TIMED
        print(f"{folder.name}: load {loaded - began:.2f} s, warm-up of {WARM_UP} {warmed - loaded:.2f} s")
        print(
            f"  {asked.tokens} tokens: p50 {percentile(times, 0.5):.1f} ms, p95 {percentile(times, 0.95):.1f} ms, "
            f"mean {statistics.mean(times) * 1000:.1f} ms, of the processor {busy * 1000:.1f} ms"
        )
        await gains(classifier, word)


async def gains(classifier: OnnxClassifier, word: str) -> None:
    """Texts a second of 32 callers of ten words each, in turn and at once, by the clock and by the processor."""
    alone: list[tuple[float, float]] = []
    together: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        began = time.perf_counter(), time.process_time()
        await one_by_one(classifier, f"{word} " * 10, CALLERS)
        between = time.perf_counter(), time.process_time()
        await asyncio.gather(*(classifier.classify([f"{word} " * 10]) for _ in range(CALLERS)))
        ended = time.perf_counter(), time.process_time()
        alone.append((between[0] - began[0], between[1] - began[1]))
        together.append((ended[0] - between[0], ended[1] - between[1]))
    slow, fast = (CALLERS / statistics.median(clock for clock, _ in rounds) for rounds in (alone, together))
    dear, cheap = (statistics.median(busy for _, busy in rounds) for rounds in (alone, together))
    print(
        f"  {CALLERS} callers: {slow:.0f} texts/s in turn, {fast:.0f} at once ({fast / slow:.1f} times; "
        f"by processor time {dear / cheap:.1f} times)"
    )


async def large() -> None:
    """The same of a model of a hundred million numbers, which mean nothing."""
    with TemporaryDirectory() as folder:
        numbers = write_random_bert(path := Path(folder) / "random-bert")
        print(f"random-bert has {numbers / 1e6:.0f} million numbers")
        await loads(path, "king")


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
    asyncio.run(loads(MODELS / "guard", "hello"))
    asyncio.run(large())
    replay()


if __name__ == "__main__":
    main()
