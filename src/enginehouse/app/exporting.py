"""OpenTelemetry, where the settings want it: spans and measures over OTLP/HTTP."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from enginehouse.core.traces import Traces
from enginehouse.errors import SettingsError
from enginehouse.settings.schema import TelemetrySettings

__all__ = ["exported"]

_PATIENCE = 5.0
"""Seconds that the collector may take for an answer."""


@asynccontextmanager
async def exported(traces: Traces, settings: TelemetrySettings) -> AsyncGenerator[None]:
    """Inside, every request is told to the collector of the settings, if there is one.

    Raises:
        SettingsError: it is wanted, and the extra `otel` is not installed.
    """
    if not settings.otlp_endpoint:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        from enginehouse.core.traces.exporting import Exporting
    except ModuleNotFoundError:
        raise SettingsError(
            "telemetry.otlp_endpoint wants OpenTelemetry: pip install 'enginehouse[otel]'."
        ) from None
    root, headers = settings.otlp_endpoint.rstrip("/"), _headers(settings)
    spans = OTLPSpanExporter(f"{root}/v1/traces", headers=headers, timeout=_PATIENCE)
    measures = OTLPMetricExporter(f"{root}/v1/metrics", headers=headers, timeout=_PATIENCE)
    reader = PeriodicExportingMetricReader(measures, settings.metrics_interval * 1000, _PATIENCE * 1000)
    exporting = Exporting(spans, reader, settings.service_name)
    traces.export(exporting.hear)
    async with exporting.running():
        yield


def _headers(settings: TelemetrySettings) -> dict[str, str]:
    """`name=value,name=value`, percent-encoded as the specification has it."""
    text = settings.otlp_headers.get_secret_value() if settings.otlp_headers else ""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
