"""What a check of the doctor has to say."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

__all__ = ["Finding", "Status", "worst"]


class Status(StrEnum):
    """How bad it is; only `fail` means that something needed is missing."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    """What to do about it, as a sentence or a command; empty where there is nothing to do."""


def worst(findings: Iterable[Finding]) -> Status:
    """The status of them all."""
    order = list(Status)
    return max((finding.status for finding in findings), key=order.index, default=Status.OK)
