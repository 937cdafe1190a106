"""What is measured: each scenario is one way of asking, the same for every system."""

import json
from typing import Any

from msgspec import Struct

from bench.load import Work
from bench.peers import PEERS
from bench.systems import DIRECT, FULL

__all__ = ["DETAILS", "SCENARIOS", "Scenario"]

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
    share: float | None = None
    """In the place of a rate: part of what the system did in the same round when it was asked all it can."""
    share_of: str = "saturation"
    """The scenario that says how much that is."""
    questions: int | None = None
    """So many that are asked again and again, for a cache to answer; None when no two are alike."""
    only: frozenset[str] = frozenset()
    """The systems for which it makes sense; empty is all."""
    lasting: float = 0.0
    """Seconds that a whole answer takes; the window opens when the first ones have ended."""

    @property
    def stream(self) -> bool:
        """Whether answers are streams."""
        return self.chunks > 0

    @property
    def paced(self) -> bool:
        """Whether requests fall due at a rate."""
        return self.rate is not None or self.share is not None

    def is_for(self, system: str) -> bool:
        """Whether it makes sense for this one."""
        peer = PEERS.get(system)
        if self.stream and peer is not None and not peer.streams:
            return False
        return not self.only or system in self.only

    def work(
        self,
        port: int,
        gateway: int | None,
        upstream: int,
        seconds: float,
        headers: dict[str, str],
        rate: float | None = None,
    ) -> Work:
        """The load generator's work on one system; `rate` is what its share comes to."""
        return Work(
            port=port,
            headers=headers,
            path="/v1/chat/completions",
            body=self.body(),
            stream=self.stream,
            chunks=self.chunks,
            connections=self.connections,
            questions=self.questions,
            rate=self.rate if rate is None else rate,
            warmup=self.lasting + min(0.5, seconds / 4),
            seconds=seconds,
            lasting=self.lasting,
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

DETAILS = (
    Scenario(name="share-30", title="Whole answers, at 30 % of what it can", model="mock", share=0.3),
    Scenario(name="share-80", title="Whole answers, at 80 % of what it can", model="mock", share=0.8),
    Scenario(name="body-4k", title="Questions of 4 KiB, as many as it can", model="mock", body_bytes=4096),
    Scenario(name="body-64k", title="Questions of 64 KiB, as many as it can", model="mock", body_bytes=65_536),
    Scenario(
        name="hits",
        title="A hundred questions again and again, which the cache answers, as many as it can",
        model="mock",
        questions=100,
        only=frozenset({DIRECT, FULL}),
    ),
    Scenario(
        name="hits-30",
        title="The same, at 30 % of what it can",
        model="mock",
        questions=100,
        share=0.3,
        share_of="hits",
        only=frozenset({DIRECT, FULL}),
    ),
    Scenario(
        name="frames",
        title="Streams of 64 chunks, each in a write of its own, as many as it can",
        model="mock-c64",
        chunks=64,
    ),
    Scenario(
        name="crowd-1000",
        title="A thousand open streams, a chunk per 50 ms",
        model="mock-c64-i50",
        chunks=64,
        connections=1200,
        rate=310,
        lasting=3.2,
    ),
    Scenario(
        name="crowd-5000",
        title="Five thousand open streams, a chunk a second",
        model="mock-c20-i1000",
        chunks=20,
        connections=5500,
        rate=250,
        lasting=20,
    ),
)
"""What takes longer; they run after the others of the same round."""
