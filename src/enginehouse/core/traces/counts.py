"""What is counted of requests, by model: plain numbers, added up when somebody asks for metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence

from enginehouse.core.traces.trace import CACHED, Trace, pace_of, speed_of
from enginehouse.telemetry.histograms import SECONDS, SHORT, SPEEDS, Histogram

__all__ = ["Counts", "ModelCounts"]

_MOST_MODELS = 1000
_OTHERS = "other"
_MICRO = 1_000_000
_AT_ONCE = 50
"""Requests that are added up together where nobody asks: a tenth of a millisecond."""
_NUMBERS = ("calls", "input", "read_again", "written", "reasoning", "cost", "unpriced")
_HISTOGRAMS = ("queue", "load", "ttft", "total", "pace", "gateway", "speed")


class ModelCounts:
    """Of one model, or of all."""

    __slots__ = (
        "cache",
        "calls",
        "cost",
        "gateway",
        "input",
        "load",
        "outcomes",
        "pace",
        "queue",
        "read_again",
        "reasoning",
        "speed",
        "total",
        "ttft",
        "unpriced",
        "written",
    )

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.cache: Counter[str] = Counter()
        self.calls = 0
        self.input = self.read_again = self.written = self.reasoning = 0
        self.cost = 0
        """In picodollars."""
        self.unpriced = 0
        """Requests whose price nobody knows."""
        self.queue = Histogram(SECONDS)
        self.load = Histogram(SECONDS)
        self.ttft = Histogram(SECONDS)
        self.total = Histogram(SECONDS)
        self.pace = Histogram(SHORT)
        self.gateway = Histogram(SHORT)
        self.speed = Histogram(SPEEDS)

    def note(self, trace: Trace) -> None:
        """One more request."""
        written, thought = trace.output_tokens, trace.reasoning_tokens
        self.outcomes[trace.outcome] += 1
        self.cache[trace.cache] += 1
        self.calls += trace.calls
        self.input += trace.input_tokens
        self.read_again += trace.cached_input_tokens
        self.written += written
        self.reasoning += thought
        if trace.cost is None:
            self.unpriced += 1
        else:
            self.cost += trace.cost
        self.total.note(trace.total_us / _MICRO)
        self.gateway.note(trace.gateway_us / _MICRO)
        if trace.ttft_us is not None:
            self.ttft.note(trace.ttft_us / _MICRO)
        upstream = self._stays(trace)
        if upstream is None or trace.cache in CACHED:
            return
        if (speed := speed_of(written + thought, upstream)) is not None:
            self.speed.note(speed)
        if (pace := pace_of(written + thought, upstream, trace.ttft_us)) is not None:
            self.pace.note(pace)

    def _stays(self, trace: Trace) -> int | None:
        """Microseconds that the engine was at it, if it was; waiting is noted on the way there."""
        upstream = None
        for name, _, took in trace.spans:
            if name == "upstream":
                upstream = took if upstream is None else upstream + took
            elif name == "queue":
                self.queue.note(took / _MICRO)
            elif name == "load":
                self.load.note(took / _MICRO)
        return upstream


class Counts:
    """Of every model. A name that no model has never becomes one of them, nor does a user's.

    What is noted is added up when somebody reads, or when enough of it waits: at one go it takes a fraction of what
    it takes in the midst of each request.
    """

    def __init__(self) -> None:
        self._waiting: list[Trace] = []
        self._models: dict[str, ModelCounts] = {}
        self._errors: Counter[tuple[str, str]] = Counter()
        self._statuses: Counter[int] = Counter()
        self._all: ModelCounts | None = None

    def note(self, trace: Trace) -> None:
        """One more request."""
        self._waiting.append(trace)
        if len(self._waiting) >= _AT_ONCE:
            self._add_up()

    @property
    def all(self) -> ModelCounts:
        """Of all models together, as it is now."""
        self._add_up()
        if self._all is None:
            self._all = _together(list(self._models.values()))
        return self._all

    @property
    def models(self) -> Mapping[str, ModelCounts]:
        """By our id of the model; those that no model was found for under an empty one."""
        self._add_up()
        return self._models

    @property
    def errors(self) -> Mapping[tuple[str, str], int]:
        """By model and code; without a model where none was found."""
        self._add_up()
        return self._errors

    @property
    def statuses(self) -> Mapping[int, int]:
        """What HTTP was told on routes to models."""
        self._add_up()
        return self._statuses

    def _add_up(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._all = self._waiting, [], None
        for trace in waiting:
            model = trace.model
            counts = self._models.get(model)
            if counts is None:
                model, counts = self._begun(model)
            counts.note(trace)
            if trace.status:
                self._statuses[trace.status] += 1
            if trace.error:
                self._errors[model, trace.error] += 1

    def _begun(self, model: str) -> tuple[str, ModelCounts]:
        if len(self._models) >= _MOST_MODELS:
            model = _OTHERS
        return model, self._models.setdefault(model, ModelCounts())


def _together(every: Sequence[ModelCounts]) -> ModelCounts:
    whole = ModelCounts()
    for one in every:
        whole.outcomes.update(one.outcomes)
        whole.cache.update(one.cache)
    for name in _NUMBERS:
        setattr(whole, name, sum([getattr(one, name) for one in every]))
    for name in _HISTOGRAMS:
        getattr(whole, name).add([getattr(one, name) for one in every])
    return whole
