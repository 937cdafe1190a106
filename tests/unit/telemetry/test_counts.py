"""What is counted is what adding up each request by itself gives, whoever asks and however often."""

import json
import random
from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.meters import request_metrics
from enginehouse.core.traces import Trace, Traces
from enginehouse.core.traces.counts import Counts
from enginehouse.core.traces.pulse import Pulse, Slow, Surroundings
from enginehouse.core.traces.tally import added, overall_of
from enginehouse.core.traces.trace import PHASES, trace_id
from enginehouse.telemetry.histograms import SECONDS, SHORT, SPEEDS, Histogram
from enginehouse.telemetry.metrics import Metrics
from tests.unit.api.test_metrics import read

CACHED = ("exact", "semantic")
OUTCOMES = ("completed", "cancelled", "failed", "refused")
HISTOGRAMS = {
    "request_seconds": (SECONDS, lambda one: [one.total_us / 1e6]),
    "queue_wait_seconds": (SECONDS, lambda one: stays(one, "queue")),
    "load_wait_seconds": (SECONDS, lambda one: stays(one, "load")),
    "time_to_first_token_seconds": (SECONDS, lambda one: known(None if one.ttft_us is None else one.ttft_us / 1e6)),
    "inter_token_seconds": (SHORT, lambda one: known(pace(one))),
    "output_tokens_per_second": (SPEEDS, lambda one: known(speed(one))),
    "gateway_seconds": (SHORT, lambda one: [one.gateway_us / 1e6]),
}


def known(value):
    return [] if value is None else [value]


def stays(one, phase):
    return [took / 1e6 for name, _, took in one.spans if name == phase]


def pace(one):
    written, engine = one.output_tokens + one.reasoning_tokens, stays(one, "upstream")
    if one.cache in CACHED or one.ttft_us is None or written < 2 or not engine:
        return None
    return max(sum(engine) - one.ttft_us / 1e6, 0) / (written - 1)


def speed(one):
    written, engine = one.output_tokens + one.reasoning_tokens, sum(stays(one, "upstream"))
    return None if one.cache in CACHED or not written or not engine else written / engine


def some(seed, number=400):
    """Requests of every kind, odd ones among them."""
    dice = random.Random(seed)
    return [one(dice, n) for n in range(number)]


def one(dice, number):
    outcome = dice.choice(OUTCOMES)
    phases = [
        (name, dice.randrange(99), dice.choice((0, 1000, 2500, 9**7))) for name in PHASES if dice.random() < 0.8
    ]
    if dice.random() < 0.1:
        phases.append(("upstream", 5, 777))
    return Trace(
        id=trace_id(number),
        time=number,
        request_id=str(number),
        model=dice.choice(("a", "b", "b", "c", "")),
        status=dice.choice((0, 200, 200, 429, 503)),
        outcome=outcome,
        error="" if outcome == "completed" else dice.choice(("queue_full", "rate_limit_exceeded")),
        cache=dice.choice(("", "exact", "semantic", "miss", "bypass")),
        calls=dice.randrange(4),
        input_tokens=dice.randrange(1000),
        cached_input_tokens=dice.choice((0, 64)),
        output_tokens=dice.choice((0, 1, 2, 300)),
        reasoning_tokens=dice.choice((0, 0, 9)),
        cost=dice.choice((None, 0, 10**9)),
        total_us=dice.choice((0, 999, 1000, 1001, 30_000_000, 10**9)),
        ttft_us=dice.choice((None, 50, 10**6)),
        gateway_us=dice.choice((0, 50, 51, 10**6, 10**7)),
        phases=tuple(name for name, _, _ in phases),
        times=tuple(time for _, *both in phases for time in both),
    )


def counted(traces):
    whole = Traces()
    for trace in traces:
        whole.take(trace)
    return whole


def counters(traces):
    """The lines of `/metrics` but for histograms."""
    lines = Counter(
        {f'enginehouse_cache_requests_total{{tier="{tier}"}}': 0 for tier in (*CACHED, "miss", "bypass")}
    )
    for one in traces:
        of = f'model="{one.model or "unknown"}"'
        for outcome in OUTCOMES:
            lines[f'enginehouse_requests_total{{{of},outcome="{outcome}"}}'] += outcome == one.outcome
        tokens = (one.cached_input_tokens, one.input_tokens, one.output_tokens, one.reasoning_tokens)
        for kind, count in zip(("cached_input", "input", "output", "reasoning"), tokens, strict=True):
            lines[f'enginehouse_tokens_total{{{of},type="{kind}"}}'] += count
        lines[f"enginehouse_cost_dollars_total{{{of}}}"] += (one.cost or 0) / 1e12
        lines[f"enginehouse_unpriced_requests_total{{{of}}}"] += one.cost is None
        if one.cache:
            lines[f'enginehouse_cache_requests_total{{tier="{one.cache}"}}'] += 1
        if one.error:
            lines[f'enginehouse_errors_total{{code="{one.error}",{of}}}'] += 1
        if one.status:
            lines[f'enginehouse_http_responses_total{{status="{one.status}"}}'] += 1
    for code in ("rate_limit_exceeded", "insufficient_quota"):
        lines[f'enginehouse_limits_refused_total{{code="{code}"}}'] = sum(one.error == code for one in traces)
    return {**lines, "enginehouse_requests_in_flight": 0}


def histograms(traces):
    """And those."""
    values = Counter()
    for one in traces:
        of = f'model="{one.model or "unknown"}"'
        for name, (bounds, read_of) in HISTOGRAMS.items():
            for value in read_of(one):
                values[f"enginehouse_{name}_sum{{{of}}}"] += value
                values[f"enginehouse_{name}_count{{{of}}}"] += 1
                for bound in (*map(repr, bounds), "+Inf"):
                    values[f'enginehouse_{name}_bucket{{le="{bound}",{of}}}'] += value <= float(bound)
    return values


@pytest.mark.parametrize("seed", range(5))
def test_metrics_say_what_each_request_adds(seed):
    traces = some(seed)
    metrics = Metrics()
    metrics.add(request_metrics(counted(traces)))
    told, wanted = read(metrics.text().decode()), {**counters(traces), **histograms(traces)}
    assert told.keys() == wanted.keys()
    assert told == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(5))
def test_the_whole_is_told_as_each_request_adds_to_it(seed):
    traces = some(seed)
    told = overall_of(counted(traces).counts)
    assert told.errors == Counter(one.error for one in traces if one.error)
    parts = {name: [one for one in traces if (one.model or "unknown") == name] for name in told.models}
    assert sum(map(len, parts.values())) == len(traces)
    for tally, of in [(told.all, traces), *((told.models[name], of) for name, of in parts.items())]:
        assert tally.outcomes == Counter(one.outcome for one in of)
        assert tally.cache == Counter(one.cache for one in of)
        assert tally.read == sum(one.input_tokens + one.cached_input_tokens for one in of)
        assert tally.written == sum(one.output_tokens + one.reasoning_tokens for one in of)
        assert tally.cost == sum(one.cost or 0 for one in of)
        assert tally.total == buckets([one.total_us / 1e6 for one in of])
        assert tally.ttft == buckets([one.ttft_us / 1e6 for one in of if one.ttft_us is not None])
        assert tally.queue == buckets([took for one in of for took in stays(one, "queue")])


def buckets(values):
    counts = [0] * (len(SECONDS) + 1)
    for value in values:
        counts[bisect_left(SECONDS, value)] += 1
    return counts


@given(st.lists(st.sampled_from((0.0, *SHORT, 1e-9, 0.3, 99.0)) | st.floats(0, 2)))
def test_many_values_fall_where_each_falls_by_itself(values):
    each, at_once = Histogram(SHORT), Histogram(SHORT)
    for value in values:
        each.note(value)
    at_once.note_all(values[:3])
    at_once.note_all(values[3:])
    assert at_once.counts == each.counts
    assert at_once.total == pytest.approx(each.total)


def test_who_asks_often_is_told_the_same():
    often, once = Counts(), Counts()
    for number, trace in enumerate(some(1)):
        often.note(trace)
        once.note(trace)
        if number % 7 == 0:
            assert often.all.outcomes.total() == number + 1
            assert sum(often.statuses.values()) <= number + 1
        if number % 11 == 0:
            assert sum(one.outcomes.total() for one in often.models.values()) == number + 1
    assert overall_of(often) == overall_of(once)
    added_up = sum(trace.gateway_us for trace in some(1)) / 1e6
    assert often.all.gateway.total == pytest.approx(added_up)
    assert once.all.gateway.total == pytest.approx(added_up)


def test_replicas_add_up_to_the_same():
    traces = some(2)
    halves = [overall_of(counted(part).counts) for part in (traces[:150], traces[150:])]
    whole, together = overall_of(counted(traces).counts), added(halves)
    assert (together.all, together.errors, together.models) == (whole.all, whole.errors, whole.models)


def test_models_beyond_what_anybody_has_are_taken_together():
    counts = Counts()
    for number in range(1100):
        counts.note(Trace(id=str(number), time=0, request_id="r", model=f"m{number}", error="e"))
    assert len(counts.models) == 1001
    assert counts.models["other"].outcomes.total() == counts.errors["other", "e"] == 100
    assert counts.all.outcomes.total() == 1100


async def test_the_last_minute_is_told_of_what_has_just_been():
    async def ask():
        return Slow()

    traces = counted([])
    pulse = Pulse(traces, Surroundings, ask, clock=iter(range(1, 99)).__next__)
    many = some(3, 50)
    for trace in many:
        traces.take(trace)
    await pulse.beat()
    told = pulse.figures()
    assert told["last_minute"]["requests"] == told["totals"]["requests"] == 50
    assert told["last_minute"]["errors"] == sum(one.outcome in ("failed", "refused") for one in many)
    assert json.dumps(pulse.overall()["cache"]) == json.dumps(pulse.counted().all.hits())
