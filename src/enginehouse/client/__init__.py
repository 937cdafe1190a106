"""A client of the service for Python programs; it knows nothing of the rest of this package."""

from enginehouse.client.client import AsyncClient
from enginehouse.client.socket import Answer, Chat
from enginehouse.client.sync import Client, SyncAnswer, SyncChat
from enginehouse.client.words import Changes, End, Message, Options, Reply, ServiceError, Session, Usage

__all__ = [
    "Answer",
    "AsyncClient",
    "Changes",
    "Chat",
    "Client",
    "End",
    "Message",
    "Options",
    "Reply",
    "ServiceError",
    "Session",
    "SyncAnswer",
    "SyncChat",
    "Usage",
]
