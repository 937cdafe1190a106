"""Identity: who is calling, what they may use, and whether the service may be reachable without asking that."""

from enginehouse.core.identity.exposure import check_exposure, check_origin, check_page, is_loopback
from enginehouse.core.identity.identity import Identity
from enginehouse.core.identity.principals import (
    ANONYMOUS,
    LOCAL,
    SERVICE,
    check_model,
    may_name,
    may_use,
    require_admin,
)

__all__ = [
    "ANONYMOUS",
    "LOCAL",
    "SERVICE",
    "Identity",
    "check_exposure",
    "check_model",
    "check_origin",
    "check_page",
    "is_loopback",
    "may_name",
    "may_use",
    "require_admin",
]
