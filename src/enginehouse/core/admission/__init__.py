"""Admission: who runs now and who waits, one bounded line per deployment."""

from enginehouse.core.admission.admission import Admission
from enginehouse.core.admission.replica import SharedGates
from enginehouse.core.admission.ticket import QueueStats, Slot, Ticket

__all__ = ["Admission", "QueueStats", "SharedGates", "Slot", "Ticket"]
