"""Conversations that the service keeps: whose they are, what was said, and what of it fits a model's context."""

from enginehouse.core.sessions.archive import ALL, Archive, Changes, Counted, Forget
from enginehouse.core.sessions.context import Context, Count, Ruler, Rulers
from enginehouse.core.sessions.conversation import ROOT, Message, Owner, Session, Status
from enginehouse.core.sessions.sessions import Sessions
from enginehouse.core.sessions.turn import Question, Turn

__all__ = [
    "ALL",
    "ROOT",
    "Archive",
    "Changes",
    "Context",
    "Count",
    "Counted",
    "Forget",
    "Message",
    "Owner",
    "Question",
    "Ruler",
    "Rulers",
    "Session",
    "Sessions",
    "Status",
    "Turn",
]
