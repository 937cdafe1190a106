"""A tiny load balancer: asks every replica whether it is ready, and sends each request to the next one that is.

It keeps connections, as real ones do, and repeats nothing: what a replica does wrong, the caller sees. Only a
request for which no connection could be made goes to another one.
"""

import asyncio
from contextlib import asynccontextmanager
from itertools import count

import aiohttp
from aiohttp import web

LOOKS = 0.2
"""Seconds between two questions whether a replica is ready."""
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "content-encoding"}


class Balancer:
    """`ready` holds the replicas that are sent requests, `sent` what each of them was sent."""

    def __init__(self, *urls):
        self._urls = urls
        self.ready = set()
        self.sent = dict.fromkeys(urls, 0)
        self._turn = count()

    @asynccontextmanager
    async def serve(self):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._client:
            looks = [asyncio.create_task(self._watch(url)) for url in self._urls]
            app = web.Application(client_max_size=1 << 24)
            app.router.add_route("*", "/{path:.*}", self._forward)
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            try:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            finally:
                await runner.cleanup()
                for look in looks:
                    look.cancel()
                await asyncio.gather(*looks, return_exceptions=True)

    async def _watch(self, url):
        while True:
            try:
                async with self._client.get(f"{url}/ready", timeout=aiohttp.ClientTimeout(1)) as answer:
                    (self.ready.add if answer.status == 200 else self.ready.discard)(url)
            except (aiohttp.ClientError, TimeoutError):
                self.ready.discard(url)
            await asyncio.sleep(LOOKS)

    async def _forward(self, request):
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        for url in self._in_turn():
            try:
                answer = await self._client.request(
                    request.method, url + request.path_qs, data=body, headers=headers
                )
            except aiohttp.ClientConnectorError:
                self.ready.discard(url)
                continue
            except (aiohttp.ClientError, ConnectionError) as error:
                return web.Response(status=502, text=f"balancer: {error!r}")
            self.sent[url] += 1
            async with answer:
                return await self._hand_on(request, answer)
        return web.Response(status=503, text="balancer: nobody is ready")

    def _in_turn(self):
        ready = sorted(self.ready)
        first = next(self._turn)
        return [ready[(first + number) % len(ready)] for number in range(len(ready))]

    async def _hand_on(self, request, answer):
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        told = web.StreamResponse(status=answer.status, headers=headers)
        await told.prepare(request)
        try:
            async for piece in answer.content.iter_any():
                await told.write(piece)
            await told.write_eof()
        except (aiohttp.ClientError, ConnectionError):  # the replica died within its answer: so does ours
            if request.transport is not None:
                request.transport.abort()
        return told
