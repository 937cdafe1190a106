"""Branches of conversations: from the copy at hand where that is of the right version, else from the database."""

from collections.abc import Sequence
from functools import partial

import msgspec

from enginehouse.core.sessions.conversation import Message
from enginehouse.core.sessions.rows import message_from
from enginehouse.core.sessions.steps import Begun, Verdict
from enginehouse.stores.kv import HotCopies
from enginehouse.stores.sql import Database
from enginehouse.stores.sql import sessions as sql

__all__ = ["Branches"]

_LONGEST = 1024 * 1024
"""Bytes of a conversation that is kept at hand."""

_decode = msgspec.msgpack.Decoder(tuple[Message, ...]).decode
_encode = msgspec.msgpack.Encoder().encode


class Branches:
    """Reads them.

    Args:
        database: where they are.
        hot: where copies are at hand.
    """

    def __init__(self, database: Database, hot: HotCopies) -> None:
        self._database, self._hot = database, hot

    async def of(self, begun: Begun) -> tuple[Message, ...]:
        """All that was said up to and with the question, the first message first."""
        previous = begun.asked[0].parent if begun.asked else begun.answer.parent
        if previous is None:
            return begun.asked
        key = begun.session.key
        copy = await self._hot.get(key, begun.before.version)
        before = () if copy is None else _up_to(_decode(copy), previous)
        if not before:
            rows = await self._database.read(partial(sql.ancestors, session=key, leaf=previous))
            before = tuple(map(message_from, rows))
        return (*before, *begun.asked)

    async def ended(self, begun: Begun, branch: Sequence[Message], verdict: Verdict, version: int | None) -> None:
        """Keep the branch at hand with its new end, if nobody else has changed the conversation meanwhile."""
        session = begun.session
        if version != session.version + 1 or session.bytes > _LONGEST:
            return
        answer = msgspec.structs.replace(begun.answer, parts=verdict.parts, status=verdict.status)
        await self._hot.put(session.key, session.version + 1, _encode((*branch, answer)))


def _up_to(branch: tuple[Message, ...], last: str) -> tuple[Message, ...]:
    """The part of a branch that ends with a message; nothing if that is not on it."""
    for index, message in enumerate(branch):
        if message.id == last:
            return branch[: index + 1]
    return ()
