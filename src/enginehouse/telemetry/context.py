"""What the work of the moment is for: the request's id for log lines, and what is passed on to other servers."""

from collections.abc import Mapping
from contextvars import Context, ContextVar
from types import MappingProxyType

__all__ = ["PASSED_ON", "REQUEST", "nobodys"]

REQUEST: ContextVar[str] = ContextVar("request", default="")
"""Id of the request that is being answered; empty where it is nobody's."""
PASSED_ON: ContextVar[Mapping[str, str]] = ContextVar("passed_on", default=MappingProxyType({}))
"""Headers of the distributed trace, for requests to servers elsewhere."""


def nobodys() -> Context:
    """A context for work that somebody's request begins and that goes on after it."""
    return Context()
