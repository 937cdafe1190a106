"""Where things are kept."""

from typing import Annotated, Literal

from pydantic import Field

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    Fraction,
    PositiveSeconds,
    Seconds,
    Secret,
    SecretUrl,
)

__all__ = ["QdrantSettings", "SessionSettings", "StoreSettings", "VectorSettings"]


class StoreSettings(Section):
    """Databases. Empty means embedded: nothing to run beside the service."""

    database_url: SecretUrl = ""
    """`postgresql://user:password@host/name` or `sqlite:///file`; empty is SQLite in the data directory."""
    fsync: bool = False
    """Whether SQLite waits for the disk at every commit. Without it nothing is lost when the service dies, but a
    power cut may cost the last seconds; with it a commit takes about half a millisecond longer."""
    redis_url: SecretUrl = ""
    """Redis URL; empty keeps shared state in the process."""
    enable_queue: bool = False
    """Whether queues of shared upstreams are global across replicas (wants Redis)."""
    queue_lease: PositiveSeconds = 15.0
    """Seconds after which the slots and places of a replica that died are free again in a global queue."""
    queue_share: Fraction = 1.0
    """Share of a global queue's slots that this replica runs on its own while Redis is away; at least one slot."""


class QdrantSettings(Section):
    """A Qdrant server; without a host or a URL, vectors are kept by the embedded index."""

    url: SecretUrl = ""
    """Its whole address, such as `https://qdrant.example:6333`; comes before `host`, `port` and `tls`."""
    host: str | None = None
    """Host name of the server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 6333
    """Its HTTP port."""
    tls: bool = False
    """Whether it is spoken to over HTTPS."""
    api_key: Secret | None = None
    """Key that it wants."""


class VectorSettings(Section):
    """Collections of vectors."""

    max_payload_bytes: Annotated[int, Field(gt=0)] = 65_536
    """Most bytes of one point's payload, as JSON."""
    fsync: bool = False
    """Whether the embedded index waits for the disk at every change. Without it nothing is lost when the service
    dies, but a power cut may cost the last second; with it each call takes some tens of milliseconds longer."""


class SessionSettings(Section):
    """Conversations that the service keeps."""

    concurrent: Literal["queue", "reject"] = "queue"
    """What becomes of a request to a conversation in which another one is being answered: `queue` lets it wait for
    its turn, `reject` refuses it."""
    retention: Seconds = 0.0
    """Seconds after its last change for which a conversation is kept; 0 keeps it until it is deleted."""
    max_sessions: Annotated[int, Field(ge=1)] = 10_000
    """Most conversations one user may have."""
    max_messages: Annotated[int, Field(ge=2)] = 10_000
    """Most messages of one conversation, on all its branches."""
    max_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    """Most bytes of one conversation's messages."""
    answer_tokens: Annotated[int, Field(ge=1)] = 512
    """Tokens that the context keeps free for the answer to a request that does not give `max_tokens`; at most a
    quarter of the context."""
    summary_model: str | None = None
    """Model that sums up what no longer fits the context; without one it is left out."""
    hot_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """Bytes of conversations that this process keeps at hand, where no Redis does."""
    hot_ttl: PositiveSeconds = 3600.0
    """Seconds for which a conversation is kept at hand after it was used."""
    lease: PositiveSeconds = 15.0
    """Seconds after which a turn of a replica that died is over, and its answer marked as interrupted."""
