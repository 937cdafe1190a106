"""Servers elsewhere: which of them takes a request, how they are, and when one is left alone."""

from enginehouse.core.routes.breaker import Breaker, may_help
from enginehouse.core.routes.lookout import Lookout
from enginehouse.core.routes.routes import Routes

__all__ = ["Breaker", "Lookout", "Routes", "may_help"]
