"""A small Ollama server on loopback that answers as the question asks for."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web

HELLO = "Grüße, 世界"


class FakeOllama:
    """`asked` holds every body with its path, `hung_up` is set when a caller leaves a stream.

    `let_go` ends what hangs.

    Args:
        loaded: names of the models that are in its memory; whoever asks for another one lets it be loaded.
    """

    def __init__(self, *loaded):
        self.loaded = set(loaded or ["m:1b"])
        self.asked: list[tuple[str, dict]] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = asyncio.Event()
        self.let_go = asyncio.Event()

    @asynccontextmanager
    async def serve(self, port=0):
        app = web.Application()
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        for name in ("chat", "generate", "embed", "show", "pull"):
            app.router.add_post(f"/api/{name}", getattr(self, f"_{name}"))
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/api"
        finally:
            await runner.cleanup()

    async def _body(self, request):
        body = await request.json()
        self.asked.append((request.path, body))
        self.headers.append(dict(request.headers))
        return body

    async def _version(self, _):
        return web.json_response({"version": "0.13.0"})

    async def _tags(self, _):
        details = {"family": "llama", "parameter_size": "1.2B", "quantization_level": "Q8_0", "parent_model": ""}
        return web.json_response({"models": [{"name": "m:1b", "size": 9, "digest": "d", "details": details}]})

    async def _ps(self, _):
        models = [{"name": name, "size": 9, "size_vram": 4, "context_length": 4096} for name in sorted(self.loaded)]
        return web.json_response({"models": models})

    async def _show(self, request):
        await self._body(request)
        info = {"general.architecture": "llama", "llama.context_length": 131072}
        return web.json_response({"capabilities": ["completion", "tools"], "details": {}, "model_info": info})

    async def _embed(self, request):
        body = await self._body(request)
        vectors = [[1.0, 0.0] for text in body["input"] if text != "lost"]
        return web.json_response({"model": body["model"], "embeddings": vectors, "prompt_eval_count": 5})

    async def _generate(self, request):
        body = await self._body(request)
        if body["stream"]:
            return await self._stream(request, body["prompt"], lambda text: {"response": text})
        reason = "unload" if body.get("keep_alive") == 0 else "load"
        return web.json_response({"model": body["model"], "response": "", "done": True, "done_reason": reason})

    async def _chat(self, request):
        body = await self._body(request)
        question = body["messages"][-1]["content"]
        if question == "refuse":
            return web.json_response({"error": '"m" does not support thinking'}, status=400)
        return await self._stream(request, question, lambda text: {"message": {"content": text}})

    async def _stream(self, request, question, said):
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            for byte in b"".join([_line(said(word)) for word in HELLO]):
                await response.write(bytes([byte]))
            match question:
                case "hang":
                    await self.let_go.wait()
                    await response.write(_line(said("") | {"done": True, "done_reason": "stop", "eval_count": 3}))
                case "break":
                    return response
                case "fail":
                    await response.write(_line({"error": "out of memory"}))
                case _:
                    await response.write(_line(said("") | {"done": True, "done_reason": "length", "eval_count": 3}))
        except (asyncio.CancelledError, ConnectionResetError):
            self.hung_up.set()
            raise
        return response

    async def _pull(self, request):
        body = await self._body(request)
        end = {"lost": {"error": "no such model"}, "cut": {"status": "verifying"}}
        lines = [
            {"status": "pulling manifest"},
            {"status": "pulling d", "digest": "d", "total": 9, "completed": 4},
            end.get(body["model"], {"status": "success"}),
        ]
        return web.Response(body=b"".join([_line(line) for line in lines]))


def _line(fields):
    return json.dumps({"model": "m:1b", "done": False} | fields, ensure_ascii=False).encode() + b"\n"
