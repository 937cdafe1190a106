"""Conversations over one WebSocket: answers come token by token, and are read on over a new one when it is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self, Unpack
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from enginehouse.client.words import End, Options, ServiceError, question_of

__all__ = ["Answer", "Chat"]

_REFUSED = 1008
"""The code of a socket that was closed by a rule of the service: to try again would not help."""


class Answer:
    """One answer: iterate over it for its tokens, and ask for its `end`.

    Args:
        chat: over which it comes.
        request_id: by which it is told apart.
        index: of the first token that comes.
    """

    def __init__(self, chat: "Chat", request_id: str, index: int = 0) -> None:
        self.request_id = request_id
        self.index = index
        """Of the token that comes next."""
        self.position = 0
        """Where it stands in the line, 0 while it does not."""
        self.session_id: str | None = None
        self.message_id: str | None = None
        self.model: str | None = None
        self.question: dict[str, Any] | None = None
        """What is to be asked again if the service never heard of it; for `Chat`."""
        self.said = False
        """Whether that, or an `attach`, was sent; for `Chat`."""
        self.stopping = False
        """Whether it was asked to stop; for `Chat`."""
        self._chat = chat
        self._tokens: list[str] = []
        self._taken = 0
        self._end: End | ServiceError | None = None
        self._news = asyncio.Event()

    @property
    def text(self) -> str:
        """All of its words so far."""
        return "".join(self._tokens)

    async def stop(self) -> End:
        """Have no more of it generated; what came is kept.

        Raises:
            ServiceError: it ended badly.
        """
        self.stopping = True
        await self._chat.say("stop_generation", {"request_id": self.request_id})
        return await self.end()

    async def end(self) -> End:
        """What it tells of itself, once it has ended.

        Raises:
            ServiceError: it ended badly.
        """
        while self._end is None:
            await self._wait()
        if isinstance(self._end, ServiceError):
            raise self._end
        return self._end

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while self._taken == len(self._tokens):
            if isinstance(self._end, ServiceError):
                raise self._end
            if self._end is not None:
                raise StopAsyncIteration
            await self._wait()
        self._taken += 1
        return self._tokens[self._taken - 1]

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def hear(self, event: str, data: dict[str, Any]) -> None:
        """An event of the service's; for `Chat`."""
        match event:
            case "queued":
                self.position = data["position"]
            case "stream_start":
                self.position = 0
                self.session_id, self.message_id = data["session_id"], data["message_id"]
                self.model = data["model"]
            case "stream_token" if data["index"] == self.index:
                self.index += 1
                self._tokens.append(data["token"])
            case "stream_end" | "stopped":
                told = {**data, "text": self.text, "stopped": event == "stopped"}
                self._end = msgspec.convert(told, End)
            case "error":
                self.fail(ServiceError(data["code"], data["message"], retry_after=data.get("retry_after")))
            case _:
                pass
        self._news.set()

    def fail(self, error: ServiceError) -> None:
        """It will not go on; for `Chat`."""
        self._end = self._end or error
        self._news.set()

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._end is not None


class Chat:
    """A WebSocket with any number of answers; use as a context.

    Args:
        url: of the service, `http://…` or `https://…`.
        key: an API key or a JWT.
        retries: how often a lost socket is opened again before its answers are given up.
        pause: seconds before the first time, then twice as long.
    """

    def __init__(self, url: str, key: str | None = None, *, retries: int = 5, pause: float = 0.25) -> None:
        query = f"?{urlencode({'token': key})}" if key else ""
        self._address = f"{url.replace('http', 'ws', 1).rstrip('/')}/ws{query}"
        self._retries = retries
        self._pause = pause
        self._answers: dict[str, Answer] = {}
        self.connection: ClientConnection | None = None
        """The socket that is open now."""
        self._open = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Open the socket.

        Raises:
            ServiceError: it cannot be had.
        """
        self.connection = await self._connect()
        self._open.set()
        await self._tasks.__aenter__()
        self._reader = self._tasks.create_task(self._read(self.connection), name="enginehouse chat")
        return self

    async def __aexit__(self, *failure: Any) -> None:
        """Close it. Answers that are not over go on for a while, to be read over another one."""
        self._reader.cancel()
        if self.connection is not None:
            await self.connection.close()
        self._give_up(ServiceError("socket_closed", "The socket was closed."))
        await self._tasks.__aexit__(None, None, None)

    async def ask(
        self,
        session_id: str,
        prompt: str | None = None,
        *,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> Answer:
        """Ask in a session; a new id begins one.

        Args:
            prompt: what is said; nothing where `parent` is to be answered anew.
            request_id: by which the answer is found again; made up when left out.
            options: as `Options` tells.
        """
        answer = Answer(self, request_id or uuid4().hex)
        answer.question = {"request_id": answer.request_id, **question_of(session_id, prompt, options)}
        return await self._follow(answer, "stream_chat", answer.question)

    async def attach(self, request_id: str, index: int = 0) -> Answer:
        """Read an answer that another socket of the same caller began, from a token on."""
        answer = Answer(self, request_id, index)
        return await self._follow(answer, "attach", {"request_id": request_id, "index": index})

    async def say(self, event: str, data: dict[str, Any]) -> None:
        """Send an event, as soon as there is a socket.

        Raises:
            ServiceError: there is none any more.
        """
        await self._open.wait()
        if self.connection is None:
            raise ServiceError("socket_closed", "The socket was closed.")
        with suppress(ConnectionClosed):  # the reader sees that too, and says the rest anew
            await self.connection.send(msgspec.json.encode({"event": event, "data": data}).decode())

    async def _follow(self, answer: Answer, event: str, data: dict[str, Any]) -> Answer:
        self._answers[answer.request_id] = answer
        await self.say(event, data)
        answer.said = True
        return answer

    async def _read(self, socket: ClientConnection) -> None:
        """Until the end; a socket that is lost is replaced."""
        while True:
            try:
                async for message in socket:
                    await self._hear(msgspec.json.decode(message))
            except ConnectionClosed:
                pass
            self._open.clear()
            self.connection = None
            found = await self._again(socket)
            if found is None:
                self._open.set()
                return
            socket = self.connection = found
            self._open.set()
            for answer in [answer for answer in self._answers.values() if answer.said]:
                await self.say("attach", {"request_id": answer.request_id, "index": answer.index})
                if answer.stopping:
                    await self.say("stop_generation", {"request_id": answer.request_id})

    async def _hear(self, told: dict[str, Any]) -> None:
        event, data = told["event"], told["data"]
        answer = self._answers.get(data.get("request_id"))
        if answer is None:
            return
        unknown = event == "error" and (data["code"], data.get("param")) == ("not_found", "request_id")
        if unknown and answer.question is not None and not answer.stopping:  # it was lost with the last socket
            await self.say("stream_chat", answer.question)
            return
        answer.question = None
        answer.hear(event, data)
        if answer.ended:
            del self._answers[answer.request_id]

    async def _again(self, lost: ClientConnection) -> ClientConnection | None:
        error = ServiceError("socket_closed", f"The socket was closed ({lost.close_code} {lost.close_reason}).")
        for attempt in range(self._retries if lost.close_code != _REFUSED else 0):
            await asyncio.sleep(self._pause * 2**attempt)
            try:
                return await self._connect()
            except ServiceError as failure:
                error = failure
        self._give_up(error)
        return None

    def _give_up(self, error: ServiceError) -> None:
        for answer in self._answers.values():
            answer.fail(error)
        self._answers.clear()

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(self._address, compression=None, max_size=None)
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise ServiceError("socket_refused", f"No WebSocket can be had: {error}") from None
