"""Tells OpenTelemetry of requests, by its conventions for generative AI: spans and measures, made beside the loop.

A request's spans are made after its end, from the times that were taken on its way, so that the way itself costs
nothing more. The extra `otel` brings what this needs.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import structlog
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from enginehouse import __version__
from enginehouse.core.traces.link import Link
from enginehouse.core.traces.trace import Trace

__all__ = ["Exporting", "attributes_of", "spans_of"]

log = structlog.get_logger()

_EVERY = 1.0
_MOST_WAITING = 4096
_LAST_WORDS = 5.0
_OPERATIONS: Mapping[str, str] = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_PROVIDERS: Mapping[str, str] = {"llama_server": "llama_cpp"}
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_MICRO = 1_000_000

Value: TypeAlias = str | bool | int | float
Attributes: TypeAlias = dict[str, Value]


class Exporting:
    """Hears of every request that has ended, and tells it on.

    Args:
        spans: where spans go.
        reader: what takes the measures on.
        service_name: what this service is called there.
    """

    def __init__(self, spans: SpanExporter, reader: MetricReader, service_name: str) -> None:
        self._resource = Resource.create({"service.name": service_name, "service.version": __version__})
        self._spans = spans
        self._meters = MeterProvider([reader], resource=self._resource)
        self._measures = _Measures(self._meters)
        self._waiting: deque[tuple[Trace, Link | None]] = deque(maxlen=_MOST_WAITING)

    def hear(self, trace: Trace, link: Link | None) -> None:
        """A request has ended; when too many wait the oldest is left out."""
        self._waiting.append((trace, link))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Tells on what it hears, and at the end what is left, for as long as that may take."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(), name="otel")
            try:
                yield
            finally:
                task.cancel()
        try:
            async with asyncio.timeout(_LAST_WORDS):
                await asyncio.to_thread(self._end)
        except TimeoutError:
            log.warning("otel_not_told", requests=len(self._waiting))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            if self._waiting:
                await asyncio.to_thread(self._tell)

    def _tell(self) -> None:
        """In a thread: making spans of many requests would hold up others."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            for trace, _ in batch:
                self._measures.note(trace)
            spans = [one for trace, link in batch if link and link.sampled for one in self._made(trace, link)]
            if spans and self._spans.export(spans) is not SpanExportResult.SUCCESS:
                log.warning("otel_spans_lost", spans=len(spans))
        except Exception:
            log.exception("otel_failed", requests=len(batch))

    def _made(self, trace: Trace, link: Link) -> Sequence[ReadableSpan]:
        return spans_of(trace, link, self._resource)

    def _end(self) -> None:
        self._tell()
        self._spans.shutdown()
        self._meters.shutdown()


class _Measures:
    """The histograms of the conventions."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("enginehouse", __version__)

        def histogram(name: str, unit: str, meaning: str, bounds: Sequence[float]) -> Histogram:
            return meter.create_histogram(name, unit, meaning, explicit_bucket_boundaries_advisory=bounds)

        self._tokens = histogram("gen_ai.client.token.usage", "{token}", "Tokens read and written", _TOKENS)
        self._operation = histogram("gen_ai.client.operation.duration", "s", "How long the engine took", _DURATION)
        self._request = histogram("gen_ai.server.request.duration", "s", "How long a request took", _DURATION)
        self._first = histogram("gen_ai.server.time_to_first_token", "s", "Until the first token", _FIRST)
        self._next = histogram("gen_ai.server.time_per_output_token", "s", "From token to token", _PER_TOKEN)

    def note(self, trace: Trace) -> None:
        """One request."""
        about = _common(trace)
        failed: Attributes = {**about, "error.type": trace.error} if trace.error else about
        self._request.record(trace.total_us / _MICRO, failed)
        upstream = trace.spent("upstream")
        if upstream is None:
            return
        self._operation.record(upstream / _MICRO, failed)
        self._tokens.record(trace.input_tokens + trace.cached_input_tokens, {**about, "gen_ai.token.type": "input"})
        self._tokens.record(trace.written, {**about, "gen_ai.token.type": "output"})
        if trace.ttft_us is not None:
            self._first.record(trace.ttft_us / _MICRO, about)
        if (pace := trace.pace) is not None:
            self._next.record(pace, about)


def spans_of(trace: Trace, link: Link, resource: Resource) -> list[ReadableSpan]:
    """One for the whole, one for the model's part of each try, and one for each other stay in a phase."""
    root = _context(link, link.span_id)
    parent = _context(link, link.parent_id, remote=True) if link.parent_id else None
    name = f"POST {trace.path}" if trace.path else _called(trace)
    kind = SpanKind.SERVER if trace.path else SpanKind.INTERNAL
    whole = _span(name, root, parent, kind, (trace.time, trace.total_us), attributes_of(trace), resource, trace)
    return [whole, *_parts(trace, link, root, resource)]


def attributes_of(trace: Trace) -> Attributes:
    """What the span of the whole says."""
    told: Attributes = {
        "http.request.method": "POST",
        "http.route": trace.path,
        "url.path": trace.path,
        "http.response.status_code": trace.status,
        "enginehouse.request.id": trace.request_id,
        "enginehouse.face": trace.face,
        "enginehouse.cache": trace.cache,
        "enginehouse.outcome": trace.outcome,
        "enduser.id": trace.user_id,
        "error.type": trace.error,
    }
    return (
        {name: value for name, value in told.items() if value not in ("", 0)} if trace.path else _generation(trace)
    )


def _parts(trace: Trace, link: Link, root: SpanContext, resource: Resource) -> Iterator[ReadableSpan]:
    for number, (name, began, took) in enumerate(trace.spans, 1):
        context = _context(link, f"{int(link.span_id, 16) ^ number:016x}")
        when = (trace.time + began, took)
        if name == "upstream":
            yield _span(_called(trace), context, root, SpanKind.CLIENT, when, _generation(trace), resource, trace)
        else:
            yield _span(name, context, root, SpanKind.INTERNAL, when, {}, resource)


def _generation(trace: Trace) -> Attributes:
    told: Attributes = {
        **_common(trace),
        "gen_ai.usage.input_tokens": trace.input_tokens + trace.cached_input_tokens,
        "gen_ai.usage.output_tokens": trace.written,
        "enginehouse.deployment": trace.deployment,
        "enginehouse.stream": trace.stream,
    }
    if trace.cached_input_tokens:
        told["gen_ai.usage.cache_read.input_tokens"] = trace.cached_input_tokens
    if trace.error:
        told["error.type"] = trace.error
    return told


def _common(trace: Trace) -> Attributes:
    """Attributes of few values: models of the catalogue, never what a caller called one."""
    model = trace.model or "unknown"
    return {
        "gen_ai.operation.name": _OPERATIONS.get(trace.operation, trace.operation or "unknown"),
        "gen_ai.provider.name": trace.provider or _PROVIDERS.get(trace.engine, trace.engine) or "unknown",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
    }


def _called(trace: Trace) -> str:
    """Operation and model, as the conventions name spans."""
    return f"{_OPERATIONS.get(trace.operation, trace.operation)} {trace.model}".strip() or "request"


def _context(link: Link, span_id: str, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(int(link.flags, 16))
    return SpanContext(int(link.trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=flags)


def _span(
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    when: tuple[int, int],
    attributes: Mapping[str, Any],
    resource: Resource,
    trace: Trace | None = None,
) -> ReadableSpan:
    began, took = when
    # What the caller did wrong is no failure of the service's.
    failed = trace is not None and trace.outcome == "failed" and not 400 <= trace.status < 500
    status = Status(StatusCode.ERROR, trace.message or trace.error) if trace and failed else Status()
    return ReadableSpan(
        name,
        context=context,
        parent=parent,
        resource=resource,
        attributes=attributes,
        kind=kind,
        status=status,
        start_time=began * 1000,
        end_time=(began + took) * 1000,
        instrumentation_scope=InstrumentationScope("enginehouse", __version__),
    )
