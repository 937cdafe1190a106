"""All replicas as one service: what each tells of itself, put together in one order."""

from enginehouse.core.replicas.replicas import Replicas
from enginehouse.core.replicas.roster import Anew, Heard
from enginehouse.core.replicas.views import Views, apart

__all__ = ["Anew", "Heard", "Replicas", "Views", "apart"]
