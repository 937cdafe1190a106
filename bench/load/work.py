"""What the load generator is told to do, and what it tells afterwards."""

from msgspec import Struct

from bench.histogram import Spread

__all__ = ["Sample", "Work"]


class Work(Struct, frozen=True, kw_only=True):
    """One measurement on loopback.

    Closed loop (no `rate`): each connection asks again as soon as it is answered, which finds the most the
    system can do. Open loop: requests are due at a constant rate whatever became of the ones before them, and
    their time counts from when they were due, so that a stall is seen by all whom it kept waiting.
    """

    port: int
    path: str
    body: str
    """A `%` template with one integer, the request's number."""
    questions: int | None = None
    """So many different bodies, again and again; None when no two are alike and no cache can answer."""
    headers: dict[str, str] = {}
    """Beside those of every request; the key is `bench`."""
    stream: bool
    chunks: int
    """Stamped chunks that a whole stream has."""
    connections: int
    rate: float | None
    """Requests per second, or None for a closed loop."""
    warmup: float
    """Seconds before the measured window."""
    seconds: float
    """Length of the measured window."""
    lasting: float = 0.0
    """Seconds that a whole answer takes by itself."""
    gateway: int | None
    """Process whose tree is weighed during the window; None when there is no gateway."""
    upstream: int
    """The mock's process."""


class Sample(Struct, frozen=True, kw_only=True):
    """What was seen in the measured window."""

    seconds: float
    answers: int
    """Good answers to requests that were due in the window."""
    failures: dict[str, int]
    """Those that were not good, by what was wrong."""
    latency: Spread | None
    """From when a request was due to the last byte of its answer."""
    first: Spread | None
    """From when a stream was due to its first chunk."""
    added: Spread | None
    """From the mock's write of a chunk to its arrival here."""
    chunks: int
    """Stamped chunks that arrived."""
    gateway_cpu: float
    """CPU seconds of the gateway's process tree."""
    bench_cpu: float
    """CPU seconds of the mock and of the load generator together, which share one core."""
    gateway_rss: int
    """Most bytes that the gateway's tree had in memory."""
