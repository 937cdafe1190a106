"""Limits: how much a caller may ask, counted exactly, for this replica or for all."""

from enginehouse.core.limits.grant import Grant
from enginehouse.core.limits.limits import Limits
from enginehouse.core.limits.local import LocalBounds, LocalGrant, settle_all
from enginehouse.core.limits.rules import NO_BOUNDS, Bounds

__all__ = ["NO_BOUNDS", "Bounds", "Grant", "Limits", "LocalBounds", "LocalGrant", "settle_all"]
