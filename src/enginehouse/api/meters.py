"""The service's own metrics: readers that say how each room is, when Prometheus asks.

Labels are models of the catalogue, causes, codes and names of our own: never users, keys, or what a caller
called a model. What was asked for under a name that is no model's is counted under `unknown`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from enginehouse import __version__
from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.holdings import Holding, Holdings
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.routes import Routes
from enginehouse.core.traces import Traces
from enginehouse.core.traces.counts import ModelCounts
from enginehouse.core.traces.pulse import Pulse
from enginehouse.telemetry.histograms import Histogram
from enginehouse.telemetry.metrics import HistogramFamily, Reader, counter, gauge
from enginehouse.types import Model, Priority, ResidentState

__all__ = ["STATUS", "house_metrics", "model_metrics", "queue_metrics", "request_metrics", "router_metrics"]

STATUS: Mapping[str, str] = {
    "completed": "success",
    "cancelled": "cancelled",
    "failed": "error",
    "refused": "error",
}
"""Our outcomes in the words of `router_requests_total`."""

_LIMITS = ("rate_limit_exceeded", "insufficient_quota")
_PICO = 10**12
_HISTOGRAMS: Sequence[tuple[str, str, Callable[[ModelCounts], Histogram]]] = (
    ("request_seconds", "Seconds from a request's arrival to the end of its answer", lambda of: of.total),
    ("queue_wait_seconds", "Seconds that requests waited for a slot", lambda of: of.queue),
    ("load_wait_seconds", "Seconds that requests waited for their model to be in memory", lambda of: of.load),
    (
        "time_to_first_token_seconds",
        "Seconds from the engine having a request to its first piece",
        lambda of: of.ttft,
    ),
    ("inter_token_seconds", "Seconds between two tokens of a stream, the mean of each answer", lambda of: of.pace),
    ("output_tokens_per_second", "Tokens written a second while the engine was at it", lambda of: of.speed),
    ("gateway_seconds", "Seconds that neither the line, nor a load, nor the engine took", lambda of: of.gateway),
)


def router_metrics(traces: Traces, catalogue: Catalogue, holdings: Holdings, admission: Admission) -> Reader:
    """The router's documented names."""

    def read() -> Iterator[Metric]:
        requests = CounterMetricFamily("router_requests", "Total requests processed", labels=["model", "status"])
        for model, counts in _by_model(traces):
            told: dict[str, int] = dict.fromkeys(STATUS.values(), 0)
            for outcome, count in counts.outcomes.items():
                told[STATUS[outcome]] += count
            for status, count in told.items():
                requests.add_metric([model, status], count)
        yield requests
        vram = GaugeMetricFamily("router_model_vram_bytes", "VRAM usage per model", labels=["model"])
        depth = GaugeMetricFamily("router_queue_depth", "Current queue depth per model", labels=["model"])
        for one in catalogue.models():
            pools = holdings.of(one).pools
            vram.add_metric([one.id], sum(held for pool, held in pools.items() if pool != "ram"))
            depth.add_metric([one.id], sum(_depth(admission, one).values()))
        yield from (vram, depth)

    return read


def request_metrics(traces: Traces) -> Reader:
    """What became of requests, and where their time went."""

    def read() -> Iterator[Metric]:
        every = list(_by_model(traces))
        yield _counters("requests", "Requests, by how they ended", ["model", "outcome"], every, _outcomes)
        yield _counters("tokens", "Tokens read and written", ["model", "type"], every, _tokens)
        yield _counters("cost_dollars", "What requests cost, as far as prices are known", ["model"], every, _cost)
        yield _counters("unpriced_requests", "Requests whose price nobody knows", ["model"], every, _unpriced)
        yield _counters(
            "cache_requests", "Requests, by where their answer is from", ["tier"], [traces.counts.all], _tiers
        )
        for name, meaning, of in _HISTOGRAMS:
            yield _histogram(name, meaning, every, of)
        yield from _wrong(traces)
        yield gauge("enginehouse_requests_in_flight", "Requests that have come and not ended", traces.on_the_way)

    return read


def queue_metrics(catalogue: Catalogue, admission: Admission, routes: Routes) -> Reader:
    """Lines, and servers elsewhere that are left alone."""

    def read() -> Iterator[Metric]:
        models = catalogue.models()
        depth = _gauges("queue_depth", "Requests that wait for a slot", ["model", "priority"])
        active, slots = (
            _gauges("queue_active", "Requests that have a slot", ["model"]),
            _gauges("queue_slots", "Requests that may run at once", ["model"]),
        )
        ended = CounterMetricFamily(
            "enginehouse_queue_refused", "Requests that did not get a slot, by why", labels=["model", "reason"]
        )
        for model in models:
            for priority, count in _depth(admission, model).items():
                depth.add_metric([model.id, priority.value], count)
            stats = admission.stats(model.deployments[0].id)
            active.add_metric([model.id], stats.active if stats else 0)
            slots.add_metric([model.id], stats.slots if stats else model.deployments[0].slots)
            if stats:
                for reason, count in (("full", stats.rejected), ("timeout", stats.timed_out), ("left", stats.left)):
                    ended.add_metric([model.id, reason], count)
        yield from (depth, active, slots, ended)
        yield from _servers(models, routes)

    return read


def model_metrics(catalogue: Catalogue, holdings: Holdings) -> Reader:
    """What is in memory, how it came there, and why it left."""

    def read() -> Iterator[Metric]:
        every = [(model.id, holdings.of(model)) for model in catalogue.models()]
        yield _states(every)
        ready = _gauges("model_ready", "Whether the model is in memory and answers", ["model"])
        memory = _gauges("model_memory_bytes", "Bytes a model holds, or has reserved", ["model", "memory"])
        loads = CounterMetricFamily("enginehouse_model_loads", "Loads that ended well", labels=["model"])
        seconds = _gauges("model_load_seconds", "Seconds of the last load", ["model"])
        evictions = CounterMetricFamily(
            "enginehouse_evictions", "How often a model left memory, by why", labels=["model", "cause"]
        )
        error = _gauges(
            "model_estimate_error_ratio", "How far the first estimate was above what was measured", ["model"]
        )
        for name, one in every:
            ready.add_metric([name], one.status.state is ResidentState.READY)
            for pool, held in one.pools.items():
                memory.add_metric([name, pool], held)
            loads.add_metric([name], one.figures.loads)
            if one.status.load_seconds is not None:
                seconds.add_metric([name], one.status.load_seconds)
            for cause, count in one.figures.departures.items():
                evictions.add_metric([name, cause.value], count)
            if one.figures.estimate_error is not None:
                error.add_metric([name], one.figures.estimate_error)
        yield from (ready, memory, loads, seconds, evictions, error)
        yield from _memories(holdings)

    return read


def house_metrics(
    ledger: Ledger,
    pulse: Pulse,
    sockets: Sized,
    chats: Sized,
    vectors: Mapping[str, int],
    dropped: Callable[[], int],
    fast: Callable[[], int],
) -> Reader:
    """The rest of the house.

    Args:
        sockets: those that are open.
        chats: answers in conversations that are being given.
        vectors: how many points were written, found and deleted.
        dropped: how many requests the database does not know of.
        fast: how many requests have taken the fast path.
    """

    def read() -> Iterator[Metric]:
        info = _gauges("info", "The version that runs", ["version"])
        info.add_metric([__version__], 1)
        yield info
        stats = ledger.stats()
        yield gauge("enginehouse_ledger_waiting_records", "Usage records that are in memory only", stats.waiting)
        yield gauge(
            "enginehouse_ledger_spooled_records", "Usage records that wait on the local disk", stats.spooled
        )
        yield gauge("enginehouse_ledger_spool_bytes", "Bytes of the local spool", stats.spool_bytes)
        yield gauge("enginehouse_ledger_refusing", "Whether nothing can be recorded", stats.status == "unhealthy")
        yield counter(
            "enginehouse_ledger_lost_records_total", "Usage records that could be kept nowhere", stats.lost
        )
        yield gauge("enginehouse_sockets", "WebSockets that are open", len(sockets))
        yield gauge("enginehouse_chats", "Answers in conversations that are being given", len(chats))
        if pulse.sessions is not None:
            yield gauge("enginehouse_sessions", "Conversations that are kept", pulse.sessions)
        points = CounterMetricFamily(
            "enginehouse_vector_points", "Points of collections, by what was done", labels=["what"]
        )
        for what, count in vectors.items():
            points.add_metric([what], count)
        yield points
        yield counter("enginehouse_telemetry_dropped_total", "Requests the database does not know of", dropped())
        yield counter("enginehouse_fast_path_requests_total", "Requests that have taken the fast path", fast())

    return read


def _by_model(traces: Traces) -> Iterator[tuple[str, ModelCounts]]:
    return ((model or "unknown", counts) for model, counts in traces.counts.models.items())


def _gauges(name: str, meaning: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"enginehouse_{name}", meaning, labels=labels)


def _counters(
    name: str,
    meaning: str,
    labels: Sequence[str],
    every: Iterable[Any],
    read: Callable[[Any], Iterable[tuple[list[str], float]]],
) -> Metric:
    family = CounterMetricFamily(f"enginehouse_{name}", meaning, labels=labels)
    for one in every:
        for values, count in read(one):
            family.add_metric(values, count)
    return family


def _outcomes(one: tuple[str, ModelCounts]) -> Iterator[tuple[list[str], float]]:
    model, counts = one
    return (([model, outcome], counts.outcomes[outcome]) for outcome in STATUS)


def _tokens(one: tuple[str, ModelCounts]) -> Iterator[tuple[list[str], float]]:
    model, of = one
    told = {"input": of.input, "cached_input": of.read_again, "output": of.written, "reasoning": of.reasoning}
    return (([model, name], count) for name, count in told.items())


def _cost(one: tuple[str, ModelCounts]) -> Iterator[tuple[list[str], float]]:
    yield [one[0]], one[1].cost / _PICO


def _unpriced(one: tuple[str, ModelCounts]) -> Iterator[tuple[list[str], float]]:
    yield [one[0]], one[1].unpriced


def _tiers(counts: ModelCounts) -> Iterator[tuple[list[str], float]]:
    return (([tier], counts.cache[tier]) for tier in ("exact", "semantic", "miss", "bypass"))


def _histogram(
    name: str, meaning: str, every: Iterable[tuple[str, ModelCounts]], of: Callable[[ModelCounts], Histogram]
) -> Metric:
    family = HistogramFamily(f"enginehouse_{name}", meaning, ["model"])
    for model, counts in every:
        family.add([model], of(counts))
    return family


def _wrong(traces: Traces) -> Iterator[Metric]:
    counts = traces.counts
    errors = CounterMetricFamily("enginehouse_errors", "What went wrong, by code", labels=["model", "code"])
    for (model, code), count in counts.errors.items():
        errors.add_metric([model or "unknown", code], count)
    limits = CounterMetricFamily("enginehouse_limits_refused", "Requests over a limit or a budget", labels=["code"])
    for limit in _LIMITS:
        limits.add_metric([limit], sum(count for (_, code), count in counts.errors.items() if code == limit))
    answers = CounterMetricFamily(
        "enginehouse_http_responses", "Answers of routes to models, by status", labels=["status"]
    )
    for status, count in counts.statuses.items():
        answers.add_metric([str(status)], count)
    yield from (errors, limits, answers)


def _depth(admission: Admission, model: Model) -> Mapping[Priority, int]:
    stats = admission.stats(model.deployments[0].id)
    return {priority: stats.depth.get(priority, 0) if stats else 0 for priority in Priority}


def _servers(models: Iterable[Model], routes: Routes) -> Iterator[Metric]:
    labels = ["model", "deployment"]
    breaker = _gauges("breaker_open", "Whether a server elsewhere is left alone for a while", labels)
    up = _gauges("server_up", "Whether a server elsewhere answered when it was last looked at", labels)
    for model in models:
        for deployment in model.deployments:
            if not deployment.engine.here:
                breaker.add_metric([model.id, deployment.id], routes.breaker(deployment).open)
                up.add_metric([model.id, deployment.id], routes.lookout.up(deployment))
    yield from (breaker, up)


def _states(every: Iterable[tuple[str, Holding]]) -> Metric:
    family = _gauges("models", "Models, by where they stand between disk and memory", ["state"])
    states = [one.status.state for _, one in every]
    for state in ResidentState:
        family.add_metric([state.value], states.count(state))
    return family


def _memories(holdings: Holdings) -> Iterator[Metric]:
    labels = ["memory"]
    total = _gauges("memory_total_bytes", "Bytes there are", labels)
    used = _gauges("memory_used_bytes", "Bytes in use by anybody", labels)
    budget = _gauges("memory_budget_bytes", "Bytes that models may take", labels)
    models = _gauges("memory_models_bytes", "Bytes that models take, or have reserved", labels)
    budgets, taken = holdings.budget(), holdings.taken()
    pools = {"ram": holdings.ram(), **{f"vram.{gpu.index}": gpu.memory for gpu in holdings.gpus()}}
    for name, pool in pools.items():
        for family, value in (
            (total, pool.total),
            (used, pool.used),
            (budget, budgets.get(name, 0)),
            (models, taken.get(name, 0)),
        ):
            family.add_metric([name], value)
    yield from (total, used, budget, models)
