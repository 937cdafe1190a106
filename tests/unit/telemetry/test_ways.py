"""One request's way, from the door and from the ledger: what adds up, who holds it, and whose requests count."""

import logging

import pytest
import structlog
from structlog.testing import capture_logs

from enginehouse.core.identity import SERVICE
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.traces import Listening, Trace, Traces
from enginehouse.core.traces.lines import RequestLines
from enginehouse.core.traces.link import Link
from enginehouse.core.traces.trace import trace_id
from enginehouse.errors import CallerGone, UpstreamDied
from enginehouse.testing import simulate
from enginehouse.types import Operation, Principal, Request, Timings
from enginehouse.types.phases import Span

ANN = Principal(user="ann")
NOW = 1_795_336_000_000_000
ONE = Trace(id=trace_id(NOW), time=NOW, request_id="one", user_id="ann", model="m")
LINK = Link(trace_id="1" * 32, span_id="2" * 16)


def asked(timings, principal=ANN):
    return Request(
        operation=Operation.CHAT, model="m", principal=principal, request_id="r", face="f", timings=timings
    )


def record(**changes):
    usual = {"input_tokens": 10, "output_tokens": 5, "cost": 7, "model": "m", "outcome": "completed"}
    fields = {"id": "i", "request_id": "r", "time": 0, "user_id": "ann", "operation": "chat", **usual, **changes}
    return UsageRecord(**fields)


def traced(work):
    """The traces that are there after this work."""

    async def main():
        traces = Traces()
        work(traces)
        return list(traces.recent)

    return simulate(main())


def spans(timings, **seconds):
    for name, took in seconds.items():
        timings.spans.append(Span(name, 0.0, took))


def test_the_ledgers_time_is_the_services_own_although_the_engine_is_still_open():
    def work(traces):
        timings = Timings()
        way = traces.arrived(timings, "r", "/p", began=-10.0)
        spans(timings, queue=1, load=2, upstream=4, ledger=0.5)
        traces.left(way, ANN, 200, None)
        alone = Timings()
        way = traces.arrived(alone, "r", "/p", began=-10.0)
        spans(alone, cache=1, ledger=0.5)
        traces.left(way, ANN, 200, None)

    engine, cached = traced(work)
    assert engine.gateway_us == 3_500_000
    assert cached.gateway_us == 10_000_000


def test_the_services_own_requests_are_nobodys():
    def work(traces):
        request = asked(Timings(), SERVICE)
        traces.began(request)
        traces.ended(request, record(), None)

    assert traced(work) == []


def test_several_records_are_one_request():
    def work(traces):
        timings = Timings()
        way = traces.arrived(timings, "r", "/p", 0.0)
        for one in (record(), record(cost=8, estimated=True), record(model="", cost=None)):
            request = asked(timings)
            traces.began(request)
            traces.ended(request, one, None)
        traces.left(way, ANN, 200, None)

    (one,) = traced(work)
    assert (one.calls, one.tokens, one.cost, one.estimated, one.model) == (3, 45, None, True, "m")


def test_an_answer_that_goes_on_without_its_reader_is_not_over():
    def work(traces):
        timings = Timings()
        way = traces.arrived(timings, "r", "/p", 0.0)
        request = asked(timings)
        traces.began(request)
        traces.left(way, ANN, 200, CallerGone("left"))
        assert (traces.on_the_way, len(traces.recent)) == (1, 0)
        traces.ended(request, record(outcome="cancelled", error="caller_gone"), None)
        assert traces.on_the_way == 0

    (one,) = traced(work)
    assert (one.status, one.outcome, one.tokens) == (499, "cancelled", 15)


@pytest.mark.parametrize(
    ("error", "code", "outcome"), [(None, "", "completed"), (UpstreamDied("broke"), "upstream_died", "failed")]
)
def test_requests_without_a_door_end_with_their_record(error, code, outcome):
    def work(traces):
        request = asked(Timings())
        traces.began(request)
        traces.ended(request, record(outcome=outcome, error=code), error)

    (one,) = traced(work)
    assert (one.status, one.outcome, one.error, one.path) == (0, outcome, code, "")


def test_what_goes_wrong_here_reaches_nobody():
    def work(traces):
        traces.listen(lambda trace: 1 / 0)
        way = traces.arrived(Timings(), "r", "/p", 0.0)
        traces.left(way, ANN, 200, None)
        assert traces.on_the_way == 0
        traces.come()
        traces.went(ONE)
        assert traces.on_the_way == 0

    assert len(traced(work)) == 2


def test_a_request_in_one_step_is_told_like_any_other():
    """Whoever hears of requests hears the same of both, and in the same order."""
    heard, exported = [], []

    def work(traces):
        traces.listen(heard.append)
        traces.export(lambda trace, link: exported.append((trace, link)))
        way = traces.arrived(Timings(), "r", "/p", 0.0)
        traces.come()
        assert traces.on_the_way == 2
        traces.went(ONE, LINK)
        assert traces.on_the_way == 1
        traces.left(way, ANN, 200, None)
        assert (traces.on_the_way, traces.counts.all.outcomes.total()) == (0, 2)
        assert list(traces.find("one")) == [ONE]

    kept = traced(work)
    assert kept == heard == [trace for trace, _ in exported]
    assert exported[0] == (ONE, LINK)
    assert exported[1][1] is not None


def test_what_takes_the_general_way_after_all_is_on_the_way_once():
    def work(traces):
        traces.come()
        traces.gone()
        way = traces.arrived(Timings(), "r", "/p", 0.0)
        assert traces.on_the_way == 1
        traces.left(way, ANN, 200, None)
        assert traces.on_the_way == 0

    assert len(traced(work)) == 1


def test_it_is_said_when_requests_want_more_than_one_step():
    traces = Traces()
    assert not traces.listens
    assert not traces.exports
    listening = Listening(most=5, redact=str)
    assert Traces(1, listening).listens
    traces.adopt(10, listening)
    assert traces.listens
    traces.adopt(10)
    assert not traces.listens
    traces.export(lambda trace, link: None)
    assert traces.exports


def test_names_of_traces_are_in_the_order_of_time_and_no_two_are_alike():
    names = [trace_id(time) for time in (1, 1, 2, 300, NOW, NOW, NOW + 1)]
    assert len(set(names)) == len(names)
    assert [name[:14] for name in names[-3:]] == [f"{NOW:014x}", f"{NOW:014x}", f"{NOW + 1:014x}"]
    assert {len(name) for name in names} == {26}


def test_lines_are_written_where_they_are_wanted_and_the_level_lets_them():
    lines = RequestLines(wanted=False)
    with capture_logs() as logs:
        lines.hear(ONE)
        lines.adopt(wanted=True)
        lines.hear(ONE)
        lines.adopt(wanted=False)
        lines.hear(ONE)
    assert [(line["event"], line["request_id"], line["outcome"]) for line in logs] == [
        ("request", "one", "completed")
    ]
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        assert not RequestLines(wanted=True).on
    finally:
        structlog.configure(wrapper_class=before)
    assert RequestLines(wanted=True).on
