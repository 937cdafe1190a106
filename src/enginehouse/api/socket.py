"""One WebSocket: prompts in, answers out token by token, several at a time, told apart by `request_id`.

A socket is a place where answers are read; they do not live there. Who loses one reads on over another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from enginehouse.api.chat import ChatQuestion, prompt_of, sampling_of
from enginehouse.api.chat_events import error_json, message, told
from enginehouse.api.dialect import decode
from enginehouse.api.wire import Receive, Send
from enginehouse.core.chat import Answers, Asked, Bell, LiveAnswer, Reader
from enginehouse.core.limits import Grant
from enginehouse.errors import EnginehouseError, InvalidRequest, MissingCredentials, RateLimitExceeded, ShuttingDown
from enginehouse.settings.schema import ChatSettings
from enginehouse.types import Operation, Principal, Request, Timings

__all__ = ["Admits", "Knows", "Socket"]

Knows = Callable[[], Awaitable[Principal]]
"""Who holds the credentials with which a socket was opened, as things are now; raises MissingCredentials."""
Admits = Callable[[Principal], AbstractAsyncContextManager[Grant]]
"""What a chat is given of its caller's limits."""
RequestId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[\x20-\x7e]+$")]


class _Message(Struct):
    """Every message of a client."""

    event: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Ask(ChatQuestion, kw_only=True):
    """`stream_chat`."""

    request_id: RequestId | None = None


class _Stop(Struct):
    """`stop_generation`; every answer of this socket when it names none."""

    request_id: RequestId | None = None


class _Attach(Struct):
    """`attach`: read an answer that another socket began."""

    request_id: RequestId
    index: Annotated[int, Meta(ge=0)] = 0
    """Of the first token that is wanted."""


_message = msgspec.json.Decoder(_Message)
_named = msgspec.json.Decoder(_Stop)
_ask = msgspec.json.Decoder(_Ask)
_attach = msgspec.json.Decoder(_Attach)


class Socket:
    """One connection, from its acceptance on.

    Args:
        receive, send: ASGI's.
        answers: where answers are given.
        settings: what a socket may do.
        knows: who opened it.
        admits: lets each chat in.
    """

    __slots__ = (
        "_admits",
        "_answers",
        "_bell",
        "_closed",
        "_farewell",
        "_heard",
        "_idle",
        "_knows",
        "_reading",
        "_receive",
        "_retiring",
        "_send",
        "_settings",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        answers: Answers,
        settings: ChatSettings,
        knows: Knows,
        admits: Admits,
    ) -> None:
        self._receive = receive
        self._send = send
        self._answers = answers
        self._settings = settings
        self._knows = knows
        self._admits = admits
        self._reading: dict[str, Reader] = {}
        self._bell = Bell()
        self._farewell: tuple[int, str] | None = None
        self._retiring = False
        self._closed = False
        self._heard = 0.0

    def retire(self) -> None:
        """Take no more questions, and close when all answers have been read."""
        self._retiring = True
        self._bell.ring()

    async def run(self) -> None:
        """To its end, whoever ends it."""
        await self._receive()  # the request to connect
        try:
            await self._send({"type": "websocket.accept"})
            async with asyncio.TaskGroup() as tasks:
                teller = tasks.create_task(self._tell(), name="socket")
                with self._watched():
                    await self._listen()
                teller.cancel()
        except asyncio.CancelledError:
            with suppress(OSError):
                await self._say_goodbye(1012, "shutting_down")
            raise
        except OSError:
            return  # the client went before it was let in
        finally:
            for reader in self._reading.values():
                reader.leave()

    # What the client says ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        with suppress(OSError):
            while (said := await self._receive())["type"] != "websocket.disconnect":
                self._heard = asyncio.get_running_loop().time()
                text = said.get("text")
                await self._hear(said["bytes"] if text is None else text.encode())

    async def _hear(self, said: bytes) -> None:
        named: str | None = None
        try:
            heard = decode(said, _message)
            data = bytes(heard.data)
            named = decode(data, _named).request_id
            match heard.event:
                case "stream_chat":
                    named = named or uuid4().hex
                    await self._ask(named, decode(data, _ask))
                case "stop_generation":
                    await self._stop(named)
                case "attach":
                    await self._attach(decode(data, _attach))
                case "ping":
                    await self._send_event("pong", {})
                case event:
                    known = "stream_chat, stop_generation, attach and ping"
                    raise InvalidRequest(f"There is no event {event!r}; there are {known}.", param="event")
        except EnginehouseError as error:
            await self._send_event("error", error_json(error, named))
            if isinstance(error, MissingCredentials):
                self._close(1008, error.code)

    async def _ask(self, request_id: str, question: _Ask) -> None:
        if self._retiring:
            raise ShuttingDown("The service is shutting down.", retry_after=5)
        self._check_room()
        principal = await self._knows()
        request = Request(
            operation=Operation.CHAT,
            model=question.model or "",
            principal=principal,
            request_id=request_id,
            face="websocket",
            stream=True,
            timings=Timings(),
        )
        asked = Asked(
            request=request,
            session_id=question.session_id,
            prompt=prompt_of(question),
            parent=question.parent,
            system=question.system,
            sampling=sampling_of(question),
            admission=self._admits(principal),
        )
        self._read(self._answers.start(asked, named=True), 0)

    async def _attach(self, wanted: _Attach) -> None:
        if wanted.request_id not in self._reading:
            self._check_room()
        answer = await self._answers.find(await self._knows(), wanted.request_id)
        self._leave(wanted.request_id)
        self._read(answer, wanted.index)

    async def _stop(self, request_id: str | None) -> None:
        """One that has ended meanwhile has told so."""
        if request_id is None:
            for reader in self._reading.values():
                reader.answer.stop()
        else:
            await self._answers.stop(await self._knows(), request_id)

    def _check_room(self) -> None:
        if len(self._reading) >= self._settings.max_chats:
            raise RateLimitExceeded(
                f"This socket has {len(self._reading)} chats already; wait for one to end.", retry_after=1
            )

    def _read(self, answer: LiveAnswer, index: int) -> None:
        self._reading[answer.request_id] = answer.read(self._bell.ring, index=index)

    def _leave(self, request_id: str) -> None:
        reader = self._reading.pop(request_id, None)
        if reader is not None:
            reader.leave()

    # What it is told -----------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Its answers take turns; while the client does not read, this waits, and they do not."""
        with suppress(OSError):
            while True:
                await self._bell.heard()
                while await self._round():
                    pass
                if self._retiring and not self._reading:
                    self._close(1012, "shutting_down")
                if self._farewell is not None:
                    await self._say_goodbye(*self._farewell)
                    return

    async def _round(self) -> bool:
        """A handful of each answer; whether there was anything."""
        busy = False
        for request_id, reader in list(self._reading.items()):
            for happening in reader.take():
                if self._farewell is not None:
                    return False
                busy = True
                await self._send_event(*told(happening, request_id))
            if reader.ended and self._reading.get(request_id) is reader:
                self._leave(request_id)
        return busy

    async def _send_event(self, name: str, data: Any) -> None:
        if not self._closed:
            await self._send({"type": "websocket.send", "text": message(name, data)})

    # Its end -------------------------------------------------------------------------------------------

    def _close(self, code: int, reason: str) -> None:
        """The first reason counts."""
        self._farewell = self._farewell or (code, reason)
        self._bell.ring()

    async def _say_goodbye(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    @contextmanager
    def _watched(self) -> Generator[None]:
        """Inside, a socket that is idle, or too old, is closed."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        lifetime = loop.call_later(self._settings.socket_lifetime, self._close, 1001, "lifetime")
        self._look_idle()
        try:
            yield
        finally:
            lifetime.cancel()
            self._idle.cancel()

    def _look_idle(self) -> None:
        loop, most = asyncio.get_running_loop(), self._settings.socket_idle_timeout
        idle = 0.0 if self._reading else loop.time() - self._heard
        if idle >= most:
            self._close(1000, "idle")
        self._idle = loop.call_later(max(most - idle, 1.0), self._look_idle)
