"""Answers in conversations: queued, streamed, stopped, and found again by who asked."""

from enginehouse.core.chat.answers import Answers
from enginehouse.core.chat.bell import Bell
from enginehouse.core.chat.events import Closing, Ended, Failed, Happening, Queued, Started, Stopped, Token
from enginehouse.core.chat.giving import Asked
from enginehouse.core.chat.live import LiveAnswer, Reader

__all__ = [
    "Answers",
    "Asked",
    "Bell",
    "Closing",
    "Ended",
    "Failed",
    "Happening",
    "LiveAnswer",
    "Queued",
    "Reader",
    "Started",
    "Stopped",
    "Token",
]
