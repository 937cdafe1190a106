"""Bodies of the routes about models in memory, as `/docs` shows them; what is not known is left out."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from pydantic import BaseModel, Field

from enginehouse.core.listing import Listed
from enginehouse.residency.manager import ResidentStatus
from enginehouse.types import EngineName, ResidentState

__all__ = [
    "DecisionBody",
    "Eject",
    "Explanation",
    "Health",
    "LogLines",
    "ModelHealth",
    "ModelState",
    "Named",
    "Overview",
    "Server",
    "Update",
    "Which",
    "named",
    "state_of",
    "updated",
]


class Eject(BaseModel):
    """Which model shall leave memory."""

    model: str = Field(description="Id, alias or name@version.")


class ModelState(BaseModel):
    """How a model stands between disk and memory."""

    status: ResidentState
    engine: EngineName
    active_requests: int = Field(description="Requests that run on it now.")
    waiting_requests: int = Field(description="Requests that wait until it is in memory.")
    port: int | None = Field(None, description="Where its engine process listens on loopback, when it has one.")
    pid: int | None = Field(None, description="Its engine process, when it has one.")
    load_time_seconds: float | None = Field(None, description="What its last load took.")
    idle_seconds: float | None = Field(None, description="Since the end of its last request, when it is idle.")
    vram_mb: float | None = Field(None, description="What it holds on GPUs, or has reserved there.")
    ram_mb: float | None = Field(None, description="What it holds of main memory, or has reserved.")
    instances: int | None = Field(None, description="How many copies are ready, where there may be several.")
    pinned: bool | None = Field(None, description="True when it is never evicted.")
    error: str | None = Field(None, description="Why it failed.")
    replicas: "dict[str, ModelState] | None" = Field(
        None, description="The same at each replica, by its id, where there may be several."
    )


class DecisionBody(BaseModel):
    """Something that was decided about the model's place in memory."""

    timestamp: datetime
    id: str = Field(description="Whom it was about.")
    what: str
    why: str
    other: str | None = Field(None, description="Who else was part of it: for whom it was evicted.")


class Explanation(BaseModel):
    """Why a request waits, and what was decided lately."""

    now: list[str] = Field(description="What a request would wait for now; empty when it would run at once.")
    decisions: list[DecisionBody] = Field(description="The newest ones that are still remembered, oldest first.")


class Named(ModelState):
    """The same with the model's name."""

    alias: str = Field(description="The model's id.")
    model_id: str = Field(description="The same id.")
    explanation: Explanation | None = Field(None, description="With `?explain=1`.")


class Update(Named):
    """A change of state, or of the list."""

    change: str | None = Field(None, description="`added`, `removed` or `changed`, when the list is what changed.")
    timestamp: datetime
    replica: str | None = Field(None, description="Where it happened, where there may be several replicas.")


class Server(BaseModel):
    """The service itself."""

    status: str = Field(description="`ready`, or `shutting_down`.")


class Which(BaseModel):
    """Some models and how they stand."""

    models: dict[str, ModelState] = Field(description="By id.")
    summary: dict[str, int] = Field(description="How many there are in each state.")


class Overview(Which):
    """Every model and how it stands."""

    server: Server
    replica: str | None = Field(default=None, description="Which replica answers, where there may be several.")
    scope: str | None = Field(
        default=None,
        description="Whose models these are: all replicas' (`shared`), or those of the one that answers (`alone`) "
        "while the others cannot be heard.",
    )


class ModelHealth(BaseModel):
    """What an engine answered when it was asked how it is."""

    status: str = Field(description="`healthy` or `unhealthy`.")
    engine: EngineName
    latency_ms: float = Field(description="How long the answer took.")
    detail: str | None = Field(None, description="What was wrong.")


class Health(BaseModel):
    """The health of every loaded model, asked of its engine now."""

    status: str = Field(description="`healthy`, or `degraded` when a model is not.")
    models: dict[str, ModelHealth] = Field(description="Loaded models, by id.")
    summary: dict[str, int]
    timestamp: datetime


class LogLines(BaseModel):
    """What a model's engine process wrote last."""

    alias: str
    model_id: str
    lines: list[str] = Field(description="Oldest first, over all lives of the process since the service started.")


def state_of(status: ResidentStatus, parts: Mapping[str, ResidentStatus] = MappingProxyType({})) -> ModelState:
    """A picture, as a body.

    Args:
        parts: the same at each replica, where there may be several.
    """
    return ModelState.model_validate({**_fields(status), **_apart(parts)})


def named(status: ResidentStatus, parts: Mapping[str, ResidentStatus] = MappingProxyType({})) -> Named:
    """A picture, as a body that says whose it is."""
    whose = {"alias": status.model, "model_id": status.model}
    return Named.model_validate({**_fields(status), **_apart(parts), **whose})


def updated(
    event: ResidentStatus | Listed,
    at: datetime,
    replica: str | None = None,
    parts: Mapping[str, ResidentStatus] = MappingProxyType({}),
) -> Update:
    """A change, as a body.

    Args:
        replica: where it happened, where there may be several.
        parts: how the model stands at each of them.
    """
    status, change = (event.status, event.change) if isinstance(event, Listed) else (event, None)
    told = {"change": change, "timestamp": at, "replica": replica}
    return Update.model_validate({**named(status, parts).model_dump(), **told})


def _apart(parts: Mapping[str, ResidentStatus]) -> dict[str, object]:
    return {"replicas": {id_: state_of(one) for id_, one in parts.items()}} if parts else {}


def _fields(status: ResidentStatus) -> dict[str, object]:
    return {
        "status": status.state,
        "engine": status.engine,
        "active_requests": status.leases,
        "waiting_requests": status.waiting,
        "port": status.port,
        "pid": status.pid,
        "load_time_seconds": _rounded(status.load_seconds),
        "idle_seconds": _rounded(status.idle_seconds),
        "vram_mb": _mib(status.vram),
        "ram_mb": _mib(status.ram),
        "instances": status.instances,
        "pinned": status.pinned or None,
        "error": status.error,
    }


def _mib(amount: int | None) -> float | None:
    return None if amount is None else round(amount / (1024 * 1024), 1)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
