"""OpenTelemetry is told of requests by its conventions, and W3C Trace Context goes in and out."""

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from enginehouse.core.traces.exporting import Exporting
from enginehouse.core.traces.link import linked
from enginehouse.errors import UpstreamDied
from enginehouse.telemetry.context import PASSED_ON
from tests.unit.telemetry.test_telemetry_api import CHAT, DONE, HELLO, STREAM, TEXT, at_the_door

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


class Told:
    """What a collector would hear of the requests of a door."""

    def __init__(self, door):
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.exporting = Exporting(self.spans, self.reader, "house")
        door.traces.export(self.exporting.hear)

    def by_name(self):
        self.exporting._tell()
        return {span.name: span for span in self.spans.get_finished_spans()}

    def measures(self):
        self.exporting._tell()
        scopes = self.reader.get_metrics_data().resource_metrics[0].scope_metrics
        return {metric.name: metric.data.data_points for scope in scopes for metric in scope.metrics}


@at_the_door(chunks=[1.0, TEXT, 2.0, DONE], load_seconds=4)
async def test_spans_are_those_of_the_conventions(door):
    told = Told(door)
    await door.post(CHAT, STREAM, traceparent=PARENT, tracestate="a=b", x_request_id="mine")
    spans = told.by_name()
    assert set(spans) == {f"POST {CHAT}", "chat tiny", "identity", "limits", "queue", "load", "ledger"}
    whole, model = spans[f"POST {CHAT}"], spans["chat tiny"]
    assert (whole.kind, model.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    assert f"{whole.parent.span_id:016x}" == SPAN
    assert {span.parent.span_id for span in spans.values() if span is not whole} == {whole.context.span_id}
    assert len({span.context.span_id for span in spans.values()}) == len(spans)
    assert whole.attributes["http.response.status_code"] == 200
    assert whole.attributes["http.route"] == CHAT
    assert whole.attributes["enginehouse.request.id"] == "mine"
    assert model.attributes["gen_ai.operation.name"] == "chat"
    assert model.attributes["gen_ai.provider.name"] == "llama_cpp"
    assert model.attributes["gen_ai.request.model"] == "tiny"
    assert model.attributes["gen_ai.usage.input_tokens"] == 5
    assert model.attributes["gen_ai.usage.output_tokens"] == 3
    assert (model.end_time - model.start_time, whole.end_time - whole.start_time) == (3 * 10**9, 7 * 10**9)
    assert model.start_time - whole.start_time == 4 * 10**9
    assert whole.resource.attributes["service.name"] == "house"
    assert whole.status.status_code is StatusCode.UNSET
    kept = (await door.call("GET", "/v1/telemetry/requests/mine")).json()
    assert kept["trace_id"] == TRACE


@at_the_door(chunks=[1.0, TEXT, 2.0, DONE])
async def test_measures_are_those_of_the_conventions(door):
    told = Told(door)
    await door.post(CHAT, STREAM)
    measures = told.measures()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in measures["gen_ai.client.token.usage"]}
    assert tokens == {"input": 5, "output": 3}
    for name, seconds in {
        "gen_ai.server.request.duration": 3,
        "gen_ai.client.operation.duration": 3,
        "gen_ai.server.time_to_first_token": 1,
        "gen_ai.server.time_per_output_token": 1,
    }.items():
        (point,) = measures[name]
        assert (point.count, point.sum) == (1, pytest.approx(seconds)), name
        assert point.attributes["gen_ai.response.model"] == "tiny"


@at_the_door(chunks=[UpstreamDied("broke")])
async def test_failures_say_so_and_the_callers_own_do_not(door):
    told = Told(door)
    await door.post(CHAT, HELLO)
    whole = told.by_name()[f"POST {CHAT}"]
    assert (whole.status.status_code, whole.attributes["error.type"]) == (StatusCode.ERROR, "upstream_died")
    told.spans.clear()
    await door.post(CHAT, {**HELLO, "model": "made up"})
    spans = told.by_name()
    assert spans[f"POST {CHAT}"].status.status_code is StatusCode.UNSET
    assert not any("made up" in str(value) for span in spans.values() for value in span.attributes.values())


@at_the_door(chunks=[DONE])
async def test_a_caller_who_does_not_want_it_recorded_is_heard(door):
    told = Told(door)
    await door.post(CHAT, STREAM, traceparent=f"00-{TRACE}-{SPAN}-00")
    assert told.by_name() == {}
    assert told.measures()["gen_ai.server.request.duration"][0].count == 1


@at_the_door(chunks=[DONE])
async def test_the_trace_is_passed_on(door):
    await door.post(CHAT, STREAM, traceparent=PARENT, tracestate="a=b")
    assert PASSED_ON.get() == {"traceparent": PARENT, "tracestate": "a=b"}
    await door.post(CHAT, STREAM)
    assert PASSED_ON.get() == {}
    Told(door)
    await door.post(CHAT, STREAM, traceparent=PARENT)
    version, trace, span, flags = PASSED_ON.get()["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN
    await door.post(CHAT, STREAM)
    assert PASSED_ON.get()["traceparent"].split("-")[1] not in (TRACE, "0" * 32)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_trace_is_passed_over(traceparent):
    assert linked(traceparent, "a=b", ours=False) is None
    begun = linked(traceparent, "a=b", ours=True)
    assert (begun.parent_id, begun.state, begun.sampled) == ("", "", True)


def test_later_versions_may_say_more():
    assert linked(f"01-{TRACE}-{SPAN}-01-more", None, ours=False).trace_id == TRACE
