"""The error tree: every way a request can end badly, in the service's own words and without HTTP.

Errors are translated once where they enter (an engine, a store, a parser raises one of these from what it
met) and given a status once where they leave (`api/wire.py`). A message says what was wrong and what to do;
it never holds a secret, a stack trace or a path outside the configured folders.
"""

from collections.abc import Sequence

__all__ = [
    "BudgetSpent",
    "CallerGone",
    "Conflict",
    "ContextLengthExceeded",
    "EngineError",
    "EnginehouseError",
    "GuardUnavailable",
    "InsufficientMemory",
    "InvalidRequest",
    "LedgerUnavailable",
    "LoadTimeout",
    "MethodNotAllowed",
    "MissingCredentials",
    "ModelLoadFailed",
    "ModelNotFound",
    "NotFound",
    "OutOfMemory",
    "PermissionDenied",
    "PromptBlocked",
    "QueueFull",
    "QueueTimeout",
    "RateLimitExceeded",
    "RequestTooLarge",
    "SchemaValidationFailed",
    "SettingsError",
    "ShuttingDown",
    "SourceError",
    "StoreError",
    "StoreUnavailable",
    "UpstreamBusy",
    "UpstreamDied",
    "UpstreamRefused",
    "UpstreamTimeout",
]


class EnginehouseError(Exception):
    """The root. `code` is the stable name a program may act on, `retry_after` is in seconds."""

    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


# What the caller did -------------------------------------------------------------------------------------


class InvalidRequest(EnginehouseError):
    """Malformed JSON, a wrong type, a missing field or a value out of range; `param` names the field."""

    code = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the model's context; the message holds both numbers, in tokens."""

    code = "context_length_exceeded"


class RequestTooLarge(EnginehouseError):
    """The body is over the size limit."""

    code = "request_too_large"


class MissingCredentials(EnginehouseError):
    """No credentials, or none that we know."""

    code = "invalid_api_key"


class PermissionDenied(EnginehouseError):
    """Known caller, but not one who may do this."""

    code = "permission_denied"


class PromptBlocked(EnginehouseError):
    """The guard takes what the caller says for an attack."""

    code = "prompt_blocked"


class NotFound(EnginehouseError):
    """Unknown session, collection, point or key."""

    code = "not_found"


class ModelNotFound(NotFound):
    """Unknown model; `near` holds the ids that look alike, best first."""

    code = "model_not_found"

    def __init__(self, model: str, near: Sequence[str] = ()) -> None:
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        super().__init__(
            f"The model {model!r} does not exist.{hint} GET /v1/models lists what there is.", param="model"
        )
        self.near = tuple(near)


class MethodNotAllowed(EnginehouseError):
    """The route is there, but not for this method."""

    code = "method_not_allowed"


class Conflict(EnginehouseError):
    """The thing is in a state that does not allow this (register an id twice, delete a loading model)."""

    code = "conflict"


class BudgetSpent(EnginehouseError):
    """What the caller may spend in this period is spent or promised; asking again at once will not help."""

    code = "insufficient_quota"


class RateLimitExceeded(EnginehouseError):
    """The caller asks more often than it may, or too much at a time.

    `retry_after` is when it may again, `told` how its limits stand: names and values that answers carry as well.
    """

    code = "rate_limit_exceeded"

    def __init__(
        self, message: str, *, told: Sequence[tuple[str, str]] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.told = tuple(told)


class CallerGone(EnginehouseError):
    """The caller went away; nobody reads this answer, only logs, telemetry and the ledger."""

    code = "caller_gone"


# What the house could not do -----------------------------------------------------------------------------


class QueueFull(EnginehouseError):
    """The deployment's bounded queue is full; who comes now would have stood at `position`."""

    code = "queue_full"

    def __init__(self, message: str, *, position: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.position = position


class QueueTimeout(EnginehouseError):
    """Waited too long for a slot."""

    code = "queue_timeout"


class LoadTimeout(EnginehouseError):
    """Waited too long for a model to be in memory."""

    code = "load_timeout"


class ModelLoadFailed(EnginehouseError):
    """The engine did not come up; the message ends with its own last lines."""

    code = "model_load_failed"


class OutOfMemory(ModelLoadFailed):
    """The engine did not come up because memory ran out under it; with more of it free it may."""


class InsufficientMemory(EnginehouseError):
    """Does not fit even with all else evicted; the message holds needed and available bytes."""

    code = "insufficient_memory"


class GuardUnavailable(EnginehouseError):
    """Nobody can say whether the prompt is an attack, and nothing passes unseen."""

    code = "guard_unavailable"


class ShuttingDown(EnginehouseError):
    """The service is on its way out and takes no new work."""

    code = "shutting_down"


class StoreError(EnginehouseError):
    """The database refused what it was given; the message names the database, never its password."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database cannot be reached right now; the same may work later."""

    code = "store_unavailable"


class LedgerUnavailable(EnginehouseError):
    """Nothing can be recorded, neither in the database nor on the local disk, so nothing is generated."""

    code = "ledger_unavailable"


# What an engine did --------------------------------------------------------------------------------------


class EngineError(EnginehouseError):
    """The root of what goes wrong between us and an engine."""

    code = "upstream_error"


class UpstreamRefused(EngineError):
    """The engine answered with an error that is not the caller's fault; `status` is what it said, if any."""

    code = "upstream_error"

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status


class UpstreamBusy(UpstreamRefused):
    """The engine lets us ask no more for now; the caller may try again when `retry_after` is over."""

    code = "slow_down"


class UpstreamDied(EngineError):
    """The connection to the engine broke, or its stream ended without an end."""

    code = "upstream_died"


class UpstreamTimeout(EngineError):
    """The engine did not answer, or fell silent, for longer than allowed."""

    code = "upstream_timeout"


class SchemaValidationFailed(EnginehouseError):
    """What the model said does not meet the caller's JSON schema, however often it was asked.

    Args:
        flaws: where (a JSON pointer into the answer) and what, as the validator tells it.
        raw: the last answer as the model wrote it.
        attempts: how often the model was asked.
    """

    code = "schema_validation_failed"

    def __init__(self, message: str, *, flaws: Sequence[tuple[str, str]], raw: str, attempts: int) -> None:
        super().__init__(message)
        self.flaws = tuple(flaws)
        self.raw = raw
        self.attempts = attempts


# What the operator has to mend ---------------------------------------------------------------------------


class SettingsError(EnginehouseError):
    """The configuration is wrong; the message names the key, the value's type and the nearest valid key."""

    code = "settings_error"


class SourceError(EnginehouseError):
    """A model's files could not be had: no network, no space, wrong checksum, no such file."""

    code = "source_error"
