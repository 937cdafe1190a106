"""Telemetry of requests: the way each took, what is counted of them, and what is told of all once a second."""

from enginehouse.core.traces.trace import Trace
from enginehouse.core.traces.traces import Listening, Traces
from enginehouse.core.traces.way import Way

__all__ = ["Listening", "Trace", "Traces", "Way"]
