"""A small file server on loopback that can misbehave in every way that downloads meet."""

import asyncio
import hashlib
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class File:
    """What lies at one path."""

    content: bytes = b""
    etag: str | None = '"v1"'
    ranges: bool = True
    """Whether it answers a Range."""
    heeds_if_range: bool = True
    drops: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers breaks off."""
    stalls: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers falls silent."""
    statuses: list[int] = field(default_factory=list)
    """Error statuses of the next answers."""
    headers: dict[str, str] = field(default_factory=dict)
    redirect: str | None = None
    authorization: str | None = None
    """What a caller must send."""
    pace: float = 0.0
    """Seconds between chunks."""
    hold: asyncio.Event | None = None
    """What it waits for after the first chunk."""
    chunked: bool = False
    """Whether the length is kept secret."""


@dataclass
class Asked:
    """One request and how many bytes of body it got."""

    path: str
    headers: dict[str, str]
    sent: int = 0


class FileServer:
    """Serves `files`, writes down what is asked; use as a context."""

    CHUNK = 16 * 1024

    def __init__(self):
        self.files: dict[str, File] = {}
        self.asked: list[Asked] = []
        self._over = asyncio.Event()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        self._over.set()
        await self._runner.cleanup()

    def sent(self, path):
        """Bytes of body that went out for a path, answer by answer."""
        return [asked.sent for asked in self.asked if asked.path == path]

    async def _answer(self, request):
        path = request.raw_path
        asked = Asked(path, {name.lower(): value for name, value in request.headers.items()})
        self.asked.append(asked)
        file = self.files.get(path)
        if file is None:
            return web.Response(status=404)
        if file.authorization is not None and asked.headers.get("authorization") != file.authorization:
            return web.Response(status=401)
        if file.statuses:
            return web.Response(status=file.statuses.pop(0))
        if file.redirect is not None:
            return web.Response(status=302, headers={"Location": file.redirect, **file.headers})
        return await self._send(request, file, asked)

    async def _send(self, request, file, asked):
        start = self._start(file, asked)
        if start is not None and start >= len(file.content):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(file.content)}"})
        body = file.content[start or 0 :]
        response = web.StreamResponse(status=200 if start is None else 206, headers=file.headers)
        if start is not None:
            total = len(file.content)
            response.headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        if file.etag is not None:
            response.headers["ETag"] = file.etag
        if not file.chunked:
            response.content_length = len(body)
        await response.prepare(request)
        await self._body(request, response, file, asked, body)
        return response

    @staticmethod
    def _start(file, asked):
        wanted = asked.headers.get("range")
        if wanted is None or not file.ranges:
            return None
        if file.heeds_if_range and asked.headers.get("if-range") not in {None, file.etag}:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    async def _body(self, request, response, file, asked, body):
        drop = file.drops.pop(0) if file.drops else None
        stall = file.stalls.pop(0) if file.stalls else None
        end = min(n for n in (drop, stall, len(body)) if n is not None)
        while asked.sent < end:
            chunk = body[asked.sent : min(asked.sent + self.CHUNK, end)]
            await response.write(chunk)
            asked.sent += len(chunk)
            if file.hold is not None:
                await file.hold.wait()
            await asyncio.sleep(file.pace)
        if stall is not None:
            await self._over.wait()
        if drop is not None:
            # Let what was written reach the reader first, as on a real line.
            await asyncio.sleep(0.05)
            request.transport.close()


def sha256(content):
    """In hex."""
    return hashlib.sha256(content).hexdigest()
