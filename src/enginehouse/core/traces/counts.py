"""What is counted of requests, by model: plain numbers, added up when somebody asks for metrics."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from enginehouse.core.traces.trace import CACHED, Trace, pace_of, speed_of
from enginehouse.telemetry.histograms import SECONDS, SHORT, SPEEDS, Histogram

__all__ = ["Counts", "ModelCounts"]

_MOST_MODELS = 1000
_OTHERS = "other"
_MICRO = 1_000_000
_AT_ONCE = 100
"""Requests that are added up together where nobody asks: a fifth of a millisecond."""
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

    def note_all(self, traces: Sequence[Trace]) -> None:
        """More requests."""
        self.outcomes.update([trace.outcome for trace in traces])
        self.cache.update([trace.cache for trace in traces])
        self.calls += sum([trace.calls for trace in traces])
        self.input += sum([trace.input_tokens for trace in traces])
        self.read_again += sum([trace.cached_input_tokens for trace in traces])
        self.written += sum([trace.output_tokens for trace in traces])
        self.reasoning += sum([trace.reasoning_tokens for trace in traces])
        costs = [trace.cost for trace in traces if trace.cost is not None]
        self.unpriced += len(traces) - len(costs)
        self.cost += sum(costs)
        self.total.note_all([trace.total_us / _MICRO for trace in traces])
        self.gateway.note_all([trace.gateway_us / _MICRO for trace in traces])
        self.ttft.note_all([trace.ttft_us / _MICRO for trace in traces if trace.ttft_us is not None])
        self._note_stays(traces)

    def _note_stays(self, traces: Sequence[Trace]) -> None:
        """What they waited for, and how fast those were that an engine answered."""
        alike: defaultdict[tuple[str, ...], list[Trace]] = defaultdict(list)
        for trace in traces:
            alike[trace.phases].append(trace)
        for names, of in alike.items():
            times = list(zip(*[trace.times for trace in of], strict=True))
            self._note_alike(names, of, times[1::2])

    def _note_alike(self, names: Sequence[str], traces: Sequence[Trace], took: Sequence[Sequence[int]]) -> None:
        """The same of some whose phases are the same.

        Args:
            names: of the phases.
            traces: which have them.
            took: microseconds in each phase, one for each trace.
        """
        for name, histogram in (("queue", self.queue), ("load", self.load)):
            for number, phase in enumerate(names):
                if phase == name:
                    histogram.note_all([us / _MICRO for us in took[number]])
        upstream = [took[number] for number, phase in enumerate(names) if phase == "upstream"]
        if not upstream:
            return
        asked = [
            (trace.output_tokens + trace.reasoning_tokens, sum(us), trace.ttft_us)
            for trace, *us in zip(traces, *upstream, strict=True)
            if trace.cache not in CACHED
        ]
        speeds = [speed_of(written, us) for written, us, _ in asked]
        self.speed.note_all([speed for speed in speeds if speed is not None])
        paces = [pace_of(written, us, ttft) for written, us, ttft in asked if ttft is not None]
        self.pace.note_all([pace for pace in paces if pace is not None])


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

    def note(self, *traces: Trace) -> None:
        """More requests."""
        self._waiting += traces
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
        by_model: defaultdict[str, list[Trace]] = defaultdict(list)
        for trace in waiting:
            by_model[trace.model].append(trace)
        for name, traces in by_model.items():
            model, counts = self._of(name)
            counts.note_all(traces)
            self._errors.update([(model, trace.error) for trace in traces if trace.error])
        self._statuses.update([trace.status for trace in waiting if trace.status])

    def _of(self, model: str) -> tuple[str, ModelCounts]:
        """The name under which a model is counted, and what is."""
        if model not in self._models and len(self._models) >= _MOST_MODELS:
            model = _OTHERS
        counts = self._models.get(model)
        if counts is None:
            counts = self._models[model] = ModelCounts()
        return model, counts


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
