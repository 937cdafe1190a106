"""What is counted of requests, by model: plain numbers, read when somebody asks for metrics."""

from collections import Counter

from enginehouse.core.traces.trace import Trace
from enginehouse.telemetry.histograms import SECONDS, SHORT, SPEEDS, Histogram

__all__ = ["Counts", "ModelCounts"]

_MOST_MODELS = 1000
_OTHERS = "other"
_MICRO = 1_000_000


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

    def note(self, trace: Trace, pace: float | None, speed: float | None) -> None:
        """One more request.

        Args:
            pace: the trace's own, which takes a while to reckon; so `speed`.
        """
        self.outcomes[trace.outcome] += 1
        self.cache[trace.cache] += 1
        self.calls += trace.calls
        self.input += trace.input_tokens
        self.read_again += trace.cached_input_tokens
        self.written += trace.output_tokens
        self.reasoning += trace.reasoning_tokens
        if trace.cost is None:
            self.unpriced += 1
        else:
            self.cost += trace.cost
        self._time(trace)
        if pace is not None:
            self.pace.note(pace)
        if speed is not None:
            self.speed.note(speed)

    def _time(self, trace: Trace) -> None:
        self.total.note(trace.total_us / _MICRO)
        self.gateway.note(trace.gateway_us / _MICRO)
        if trace.ttft_us is not None:
            self.ttft.note(trace.ttft_us / _MICRO)
        for name, _, took in trace.spans:
            if name == "queue":
                self.queue.note(took / _MICRO)
            elif name == "load":
                self.load.note(took / _MICRO)


class Counts:
    """Of every model. A name that no model has never becomes one of them, nor does a user's."""

    def __init__(self) -> None:
        self.all = ModelCounts()
        self.models: dict[str, ModelCounts] = {}
        self.errors: Counter[tuple[str, str]] = Counter()
        """By model and code; without a model where none was found."""
        self.statuses: Counter[int] = Counter()
        """What HTTP was told on routes to models."""

    def note(self, trace: Trace) -> None:
        """One more request."""
        model = self._known(trace.model)
        pace, speed = trace.pace, trace.speed
        self.all.note(trace, pace, speed)
        self.models[model].note(trace, pace, speed)
        if trace.status:
            self.statuses[trace.status] += 1
        if trace.error:
            self.errors[model, trace.error] += 1

    def _known(self, model: str) -> str:
        if model not in self.models:
            if len(self.models) >= _MOST_MODELS:
                model = _OTHERS
            self.models.setdefault(model, ModelCounts())
        return model
