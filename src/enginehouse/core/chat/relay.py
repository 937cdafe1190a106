"""Answers of other replicas, read here: who comes back to another replica reads on as if it were the same.

A replica says that it gives an answer before it asks a model. Another one whose caller looks for it makes a copy
and keeps it up for as long as somebody reads; that counts as a reader where the answer is given. So answers that
nobody looks for elsewhere cost two short notes, and their words never leave their replica.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any, Self

from msgspec import MsgspecError, Struct

from enginehouse.core.chat.bell import Bell
from enginehouse.core.chat.events import Failed
from enginehouse.core.chat.letters import Leave, Letter, Name, Part, Pull, Stop, decode, encode, part_of, put_in
from enginehouse.core.chat.live import LiveAnswer
from enginehouse.errors import Conflict, EnginehouseError, ShuttingDown, StoreUnavailable, UpstreamDied
from enginehouse.stores.kv import Post

__all__ = ["Relay"]

_LONGEST = 86_400.0
"""Seconds after which nobody believes any more that an answer is being given."""
_HOLD = 2.0
"""Seconds for which a letter waits for something new to say."""
_PATIENCE = 5.0
"""Seconds after which one that has not come is asked for again."""
_TRIES = 3
_LEASE = 15.0
"""Seconds for which a reader elsewhere counts as present after it asked."""
_PAUSE = 1.0
"""Seconds for which a copy is kept up without a reader."""


class _Copy(Struct, frozen=True, eq=False):
    """An answer of another replica, as it is known here."""

    name: Name
    replica: str
    loan: int
    answer: LiveAnswer


class Relay:
    """Use as a context.

    Args:
        post: between the replicas.
        own: the answer of this name that is given here, if there is one.
    """

    def __init__(self, post: Post, own: Callable[[Name], LiveAnswer | None]) -> None:
        self._post, self._own = post, own
        self._numbers = count(1)
        self._replies: dict[int, asyncio.Future[Part]] = {}
        self._loans: dict[tuple[str, int], ExitStack] = {}
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._busy: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Hear what other replicas ask."""
        await self._stack.enter_async_context(self._serving())
        self._post.receive(self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Copies end; the answers themselves go on where they are given."""
        self._post.receive(lambda _: None)
        await self._stack.aclose()

    # For who gives, and who looks ----------------------------------------------------------------------

    async def claim(self, name: Name) -> None:
        """An answer of this name is given here from now on. While the post is away nobody elsewhere finds it.

        Raises:
            Conflict: another replica gives one.
        """
        with suppress(StoreUnavailable):
            if await self._post.claim(_thing(name), _LONGEST) is not None:
                raise Conflict(f"The request_id {name[2]!r} is being answered.", param="request_id")

    async def release(self, name: Name, seconds: float) -> None:
        """It has ended, and may be found for so many seconds yet."""
        with suppress(StoreUnavailable):
            await self._post.release(_thing(name), seconds)

    async def find(self, name: Name) -> LiveAnswer | None:
        """A copy of an answer that another replica gives, with all there is of it; who reads it begins at once.

        Raises:
            StoreUnavailable: the post is away.
            UpstreamDied: that replica does not answer.
        """
        replica = await self._elsewhere(name)
        if replica is None:
            return None
        copy = _Copy(name, replica, next(self._numbers), LiveAnswer(name[2], _PAUSE))
        part = await self._pulled(copy, wait=False)
        while part.more:
            part = await self._pulled(copy, wait=False)
        if not part.known:
            return None
        self._begin(self._keep_up(copy), "copy")
        return copy.answer

    async def stop(self, name: Name) -> bool:
        """End an answer that another replica gives; whether one does.

        Raises:
            StoreUnavailable: the post is away.
        """
        replica = await self._elsewhere(name)
        return replica is not None and await self._post.send(replica, encode(Stop(name)))

    # The reader's side ---------------------------------------------------------------------------------

    async def _elsewhere(self, name: Name) -> str | None:
        replica = await self._post.find(_thing(name))
        return None if replica == self._post.name else replica

    async def _keep_up(self, copy: _Copy) -> None:
        """To the answer's end, or until nobody reads here."""
        answer, scope = copy.answer, asyncio.timeout(None)
        try:
            async with scope:
                with answer.writing(scope):
                    await self._to_the_end(copy)
        except TimeoutError:
            if answer.cut == "stopped":  # its end is told like any other
                await self._write(copy.replica, Stop(copy.name))
                await self._to_the_end(copy)
            else:
                await self._write(copy.replica, Leave(self._post.name, copy.loan))
        except asyncio.CancelledError:
            answer.close(Failed(error=ShuttingDown("The service is shutting down.", retry_after=5)))
            raise

    async def _to_the_end(self, copy: _Copy) -> None:
        try:
            while copy.answer.end is None:
                await self._pulled(copy)
        except EnginehouseError as error:
            copy.answer.close(Failed(error=error))

    async def _pulled(self, copy: _Copy, *, wait: bool = True) -> Part:
        """The next part, which the copy knows then.

        Raises:
            UpstreamDied: nobody answers, or nobody there knows the answer any more.
        """
        answer, number = copy.answer, next(self._numbers)
        pull = Pull(
            name=copy.name,
            back=self._post.name,
            number=number,
            loan=copy.loan,
            index=len(answer.words),
            begun=answer.started is not None,
            position=answer.position,
            wait=wait,
        )
        part = await self._asked(copy.replica, pull)
        if not part.known and wait:
            raise UpstreamDied("The replica that gave this answer does not know of it any more.")
        put_in(part, answer)
        return part

    async def _asked(self, replica: str, pull: Pull) -> Part:
        reply = self._replies[pull.number] = asyncio.get_running_loop().create_future()
        try:
            for _ in range(_TRIES):
                if not await self._write(replica, pull):
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PATIENCE):
                        return await asyncio.shield(reply)
        finally:
            del self._replies[pull.number]
        raise UpstreamDied("The replica that gave this answer has gone.")

    async def _write(self, replica: str, letter: Letter) -> bool:
        """Whether it may have been heard: while the post is away, that is not known."""
        try:
            return await self._post.send(replica, encode(letter))
        except StoreUnavailable:
            return True

    # The writer's side ---------------------------------------------------------------------------------

    def _hear(self, letter: bytes) -> None:
        with suppress(MsgspecError):  # of another version
            match decode(letter):
                case Part() as part:
                    reply = self._replies.get(part.number)
                    if reply is not None and not reply.done():
                        reply.set_result(part)
                case Pull() as pull:
                    self._begin(self._lend(pull), "loan")
                case Stop(name):
                    answer = self._own(name)
                    if answer is not None:
                        answer.stop()
                case Leave(back, loan):
                    self._let_go((back, loan))

    async def _lend(self, pull: Pull) -> None:
        answer = self._own(pull.name)
        part = Part(number=pull.number, known=False) if answer is None else await self._news(answer, pull)
        await self._write(pull.back, part)

    async def _news(self, answer: LiveAnswer, pull: Pull) -> Part:
        bell = Bell()
        self._hold(answer, pull, bell)
        with suppress(TimeoutError):
            async with asyncio.timeout(_HOLD if pull.wait else 0):
                while (part := part_of(answer, pull)) is None:
                    await bell.heard()
                return part
        return Part(number=pull.number, position=pull.position)

    def _hold(self, answer: LiveAnswer, pull: Pull, bell: Bell) -> None:
        """The reader elsewhere counts as present for a while."""
        key, stack = (pull.back, pull.loan), ExitStack()
        stack.enter_context(answer.read(bell.ring))
        stack.callback(asyncio.get_running_loop().call_later(_LEASE, self._let_go, key).cancel)
        self._let_go(key)
        self._loans[key] = stack

    def _let_go(self, key: tuple[str, int]) -> None:
        loan = self._loans.pop(key, None)
        if loan is not None:
            loan.close()

    # Its tasks -----------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.create_task(work, name=name)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    @asynccontextmanager
    async def _serving(self) -> AsyncGenerator[None]:
        async with self._tasks:
            try:
                yield
            finally:
                for key in list(self._loans):
                    self._let_go(key)
                for task in self._busy:
                    task.cancel()


def _thing(name: Name) -> str:
    """Under which it is claimed; of one length, whatever callers call it."""
    return "answer:" + hashlib.blake2b("\0".join(name).encode(), digest_size=20).hexdigest()
