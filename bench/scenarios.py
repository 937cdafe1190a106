"""What is measured: each scenario is one way of asking, the same for every system."""

import json
from typing import Any

from msgspec import Struct

from bench.load import Work

__all__ = ["SCENARIOS", "Scenario"]

_NUMBER = "%012d"
_TEXT = "The quick brown fox jumps over the lazy dog. "


class Scenario(Struct, frozen=True, kw_only=True):
    """One way of asking."""

    name: str
    title: str
    model: str
    """Its name tells the mock how to answer; see `bench.mock.Manner`."""
    chunks: int = 0
    """Content chunks of the stream that the model's name asks for; 0 is no stream."""
    body_bytes: int = 1024
    connections: int = 64
    rate: float | None = None
    """Requests per second, or None for a closed loop."""

    @property
    def stream(self) -> bool:
        """Whether answers are streams."""
        return self.chunks > 0

    def work(self, port: int, gateway: int | None, upstream: int, seconds: float, headers: dict[str, str]) -> Work:
        """The load generator's work on one system."""
        return Work(
            port=port,
            headers=headers,
            path="/v1/chat/completions",
            body=self.body(),
            stream=self.stream,
            chunks=self.chunks,
            connections=self.connections,
            rate=self.rate,
            warmup=min(0.5, seconds / 4),
            seconds=seconds,
            gateway=gateway,
            upstream=upstream,
        )

    def body(self) -> str:
        """The request's body as a template of its number, `body_bytes` long once that is filled in."""
        padding = self.body_bytes - len(self._body("") % 0)
        return self._body((_TEXT * (padding // len(_TEXT) + 1))[:padding])

    def _body(self, padding: str) -> str:
        message = {"role": "user", "content": f"Question {_NUMBER}: {padding}"}
        asked: dict[str, Any] = {"model": self.model, "messages": [message], "temperature": 0.7}
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(asked)


SCENARIOS = (
    Scenario(name="saturation", title="Whole answers, as many as it can", model="mock"),
    Scenario(name="latency", title="Whole answers, 200 a second", model="mock", rate=200),
    Scenario(
        name="streams",
        title="Streams of 64 chunks (four in a write), as many as it can",
        model="mock-c64-b4",
        chunks=64,
    ),
    Scenario(
        name="paced",
        title="Streams of 64 chunks, one per 5 ms, 20 streams a second",
        model="mock-c64-i5",
        chunks=64,
        rate=20,
    ),
)
"""Short enough to be run at every change, in the order in which they run."""
