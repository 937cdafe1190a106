"""Who there is beside the holders of keys and tokens, and what a principal may do."""

from fnmatch import fnmatchcase

from enginehouse.errors import PermissionDenied
from enginehouse.types import Model, Principal

__all__ = [
    "ANONYMOUS",
    "KEYHOLDER",
    "LOCAL",
    "RESERVED_ROLES",
    "SERVICE",
    "check_model",
    "may_name",
    "may_use",
    "require_admin",
]

LOCAL = Principal(user="local", role="admin", tier="admin")
"""Everybody, where no key is wanted."""
SERVICE = Principal(user="enginehouse", role="service", tier="internal")
"""The service itself: its requests are real ones, but nobody's use of a model."""
KEYHOLDER = Principal(user="admin", role="admin", tier="admin")
"""Who shows a key of the settings."""
ANONYMOUS = Principal(user="anonymous", role="anonymous", tier="basic")
"""Who shows nothing, where nothing is wanted."""

RESERVED_ROLES = frozenset({SERVICE.role, ANONYMOUS.role})
"""Roles that no key and no token may claim."""


def require_admin(principal: Principal) -> None:
    """Management is for admins.

    Raises:
        PermissionDenied: the caller is not one.
    """
    if principal.role != "admin":
        raise PermissionDenied("This wants the role 'admin'.")


def may_use(principal: Principal, model: Model) -> bool:
    """Whether a caller may use a model, by its id or by any of its other names."""
    return not principal.models or any(may_name(principal, name) for name in (model.id, *model.aliases))


def may_name(principal: Principal, name: str) -> bool:
    """Whether a caller may use what is called this."""
    return not principal.models or any(fnmatchcase(name, allowed) for allowed in principal.models)


def check_model(principal: Principal, model: Model) -> None:
    """Some callers may use some models only.

    Raises:
        PermissionDenied: not this one.
    """
    if not may_use(principal, model):
        allowed = ", ".join(principal.models)
        raise PermissionDenied(f"Your key may not use the model {model.id!r}; it may use {allowed}.", param="model")
