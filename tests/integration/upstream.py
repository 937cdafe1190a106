"""A deterministic upstream on loopback that speaks three dialects, and fails as its address says.

The first segment of a path is how it behaves (`/well/v1/messages`, `/hang/api/chat`), the first word of the last
question what it is asked for. Its frames are written here by hand, so that our own codecs do not check themselves.
"""

import base64
import hashlib
import json
import select
import socket
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

TOKENS = (11, 5)
"""Of every prompt and of every answer."""
HUGE = 17 * 1024 * 1024
_WORDS_A_SECOND = 50


class Asked(NamedTuple):
    """A request, in no dialect's words."""

    text: str
    images: list[bytes]
    tools: list[str]
    schema: dict | None
    stops: list[str]
    answer_tool: str = ""


class Said(NamedTuple):
    """An answer, in no dialect's words."""

    text: str = ""
    calls: tuple[tuple[str, dict], ...] = ()
    stop: str | None = None


def answer_to(asked: Asked) -> Said:
    """What it says to whom; only who asked for a tool or a schema in the right place gets it."""
    match asked.text.partition(" ")[0]:
        case "tools" if "weather" in asked.tools:
            return Said(calls=(("weather", {"city": "Köln"}),))
        case "parallel" if "weather" in asked.tools:
            return Said(text="Both.", calls=(("weather", {"city": "Köln"}), ("weather", {"city": "東京"})))
        case "image":
            return Said(text=" ".join([hashlib.sha256(image).hexdigest()[:8] for image in asked.images]))
        case "schema" if asked.schema is not None:
            keys = json.dumps({"keys": sorted(asked.schema["properties"])})
            name = asked.answer_tool
            return Said(calls=((name, json.loads(keys)),)) if name else Said(text=keys)
        case "stop":
            words = "one two three four"
            found = [stop for stop in asked.stops if stop in words]
            return Said(text=words.partition(found[0])[0], stop=found[0]) if found else Said(text=words)
        case _:
            return Said(text=f"Grüße, 世界: {asked.text}")


def words_of(text: str) -> list[str]:
    """Pieces of a text as a stream tells them."""
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def _sse(data: dict | str, name: str = "") -> bytes:
    told = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {told}\n\n".encode()


class OpenAI:
    """Chat completions."""

    kind = "text/event-stream"
    opening = 1
    """Frames before the first word."""
    garbled = b'data: {"choices": [{"index": 0, "delta": {"content": \n\n'

    trouble = b'data: {"error": {"message": "Out of memory.", "type": "server_error", "code": 500}}\n\n'

    def read(self, body):
        parts = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        form = body.get("response_format") or {}
        stop = body.get("stop") or []
        return Asked(
            text="".join([part["text"] for part in parts if part["type"] == "text"]),
            images=[base64.b64decode(url.partition(",")[2]) for url in urls],
            tools=[tool["function"]["name"] for tool in body.get("tools", ())],
            schema=(form.get("json_schema") or {}).get("schema"),
            stops=[stop] if isinstance(stop, str) else stop,
        )

    def word(self, text):
        return self._chunk({"content": text})

    def frames(self, said, body):
        frames = [self._chunk({"role": "assistant", "content": ""}), *map(self.word, words_of(said.text))]
        for index, call in enumerate(self._calls(said)):
            arguments = call["function"].pop("arguments")
            frames.append(self._chunk({"tool_calls": [{"index": index, **call}]}))
            pieces = [{"index": index, "function": {"arguments": piece}} for piece in words_of(arguments)]
            frames += [self._chunk({"tool_calls": [piece]}) for piece in pieces]
        frames.append(self._chunk({}, "tool_calls" if said.calls else "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            frames.append(_sse({"id": "x", "model": "theirs", "choices": [], "usage": self._usage()}))
        return [*frames, _sse("[DONE]")]

    def whole(self, said):
        message = {"role": "assistant", "content": said.text or None, "tool_calls": self._calls(said)}
        return self._body({"message": message, "finish_reason": "tool_calls" if said.calls else "stop"})

    def error(self, message):
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}

    def _chunk(self, delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _sse(
            {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": [choice]}
        )

    def _body(self, choice):
        named = {"id": "x", "object": "chat.completion", "created": 1, "model": "theirs"}
        return {**named, "choices": [{"index": 0, **choice}], "usage": self._usage()}

    def _usage(self):
        return {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}

    def _calls(self, said):
        return [
            {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for at, (name, arguments) in enumerate(said.calls)
        ]


class Completions(OpenAI):
    """Text completions."""

    def read(self, body):
        stop = body.get("stop") or []
        return Asked(body["prompt"], [], [], None, [stop] if isinstance(stop, str) else stop)

    def whole(self, said):
        return self._body({"text": said.text, "logprobs": None, "finish_reason": "stop"})

    def _chunk(self, delta, reason=None):
        choice = {"index": 0, "text": delta.get("content", ""), "logprobs": None, "finish_reason": reason}
        return _sse({"id": "x", "object": "text_completion", "created": 1, "model": "theirs", "choices": [choice]})


class Anthropic:
    """Messages."""

    kind = "text/event-stream; charset=utf-8"
    opening = 2
    garbled = b'event: content_block_delta\ndata: {"type": "content_block_delta", \n\n'

    trouble = _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")

    def read(self, body):
        parts = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        form = (body.get("output_config") or {}).get("format") or {}
        choice = body.get("tool_choice") or {}
        tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", ())}
        forced = choice["name"] if choice.get("type") == "tool" else ""
        return Asked(
            text="".join([part["text"] for part in parts if part["type"] == "text"]),
            images=[base64.b64decode(part["source"]["data"]) for part in parts if part["type"] == "image"],
            tools=list(tools),
            schema=form.get("schema") or tools.get(forced),
            stops=body.get("stop_sequences") or [],
            answer_tool=forced,
        )

    def word(self, text):
        return self._delta(0, {"type": "text_delta", "text": text})

    def frames(self, said, body):
        head = {**self._message([], None, None), "usage": {"input_tokens": TOKENS[0], "output_tokens": 1}}
        frames = [_sse({"type": "message_start", "message": head}, "message_start")]
        if said.text:
            frames.append(self._start(0, {"type": "text", "text": ""}))
            frames += [*map(self.word, words_of(said.text)), self._stop(0)]
        for at, (name, arguments) in enumerate(said.calls, 1 if said.text else 0):
            frames.append(self._start(at, {"type": "tool_use", "id": f"c{at}", "name": name, "input": {}}))
            pieces = words_of(json.dumps(arguments))
            frames += [self._delta(at, {"type": "input_json_delta", "partial_json": piece}) for piece in pieces]
            frames.append(self._stop(at))
        end = {"stop_reason": self._reason(said), "stop_sequence": said.stop}
        usage = {"output_tokens": TOKENS[1]}
        frames.append(_sse({"type": "message_delta", "delta": end, "usage": usage}, "message_delta"))
        return [*frames, _sse({"type": "message_stop"}, "message_stop")]

    def whole(self, said):
        text = [{"type": "text", "text": said.text}] if said.text else []
        calls = [
            {"type": "tool_use", "id": f"c{at}", "name": name, "input": arguments}
            for at, (name, arguments) in enumerate(said.calls)
        ]
        return self._message([*text, *calls], self._reason(said), said.stop)

    def error(self, message):
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}

    def _message(self, content, reason, stop):
        named = {"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs", "content": content}
        usage = {"input_tokens": TOKENS[0], "output_tokens": TOKENS[1]}
        return {**named, "stop_reason": reason, "stop_sequence": stop, "usage": usage}

    def _reason(self, said):
        return "tool_use" if said.calls else "stop_sequence" if said.stop else "end_turn"

    def _start(self, index, block):
        return _sse({"type": "content_block_start", "index": index, "content_block": block}, "content_block_start")

    def _delta(self, index, delta):
        return _sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")

    def _stop(self, index):
        return _sse({"type": "content_block_stop", "index": index}, "content_block_stop")


class OllamaChat:
    """`/api/chat`."""

    kind = "application/x-ndjson"
    opening = 0
    garbled = b'{"model": "theirs", "message": {"role": \n'

    trouble = b'{"error": "out of memory"}\n'

    def read(self, body):
        turn = body["messages"][-1]
        tools = [tool["function"]["name"] for tool in body.get("tools", ())]
        return self._asked(body, turn["content"], turn.get("images"), tools)

    def word(self, text):
        return self._line(self._said(text))

    def frames(self, said, body):
        lines = [*map(self.word, words_of(said.text))]
        if said.calls:
            lines.append(self._line(self._said("", said.calls)))
        return [*lines, self._line(self._said("") | self._end())]

    def whole(self, said):
        return {
            "model": "theirs",
            "created_at": "2026-01-01T00:00:00Z",
            **self._said(said.text, said.calls),
        } | self._end()

    def error(self, message):
        return {"error": message}

    def _asked(self, body, text, images, tools):
        form = body.get("format")
        stop = (body.get("options") or {}).get("stop") or []
        return Asked(
            text=text,
            images=[base64.b64decode(image) for image in images or ()],
            tools=tools,
            schema=form if isinstance(form, dict) else None,
            stops=[stop] if isinstance(stop, str) else stop,
        )

    def _said(self, text, calls=()):
        message = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [{"function": {"name": name, "arguments": given}} for name, given in calls]
        return {"message": message}

    def _end(self):
        return {"done": True, "done_reason": "stop", "prompt_eval_count": TOKENS[0], "eval_count": TOKENS[1]}

    def _line(self, fields):
        named = {"model": "theirs", "created_at": "2026-01-01T00:00:00Z", "done": False}
        return json.dumps(named | fields, ensure_ascii=False).encode() + b"\n"


class OllamaGenerate(OllamaChat):
    """`/api/generate`."""

    def read(self, body):
        return self._asked(body, body["prompt"], body.get("images"), [])

    def _said(self, text, calls=()):
        return {"response": text}


DIALECTS = {
    "/v1/chat/completions": OpenAI(),
    "/v1/completions": Completions(),
    "/v1/messages": Anthropic(),
    "/api/chat": OllamaChat(),
    "/api/generate": OllamaGenerate(),
    "/acme/chat": OpenAI(),  # the provider of docs/llm-integration.md
}


class Upstream:
    """Use as a context.

    Args:
        tls: what it speaks TLS with; None: it does not.

    Attributes:
        asked: when each question arrived last, by its text.
        arrivals: when each one arrived every time it was asked, by its text.
        departures: how often its asker was seen to have gone, by its text.
        left: when the asker of each was seen to have gone, by its text.
        heard: set when the asker of each has heard the first words, for what happens after them, by its text.
    """

    def __init__(self, tls=None):
        self.asked: dict[str, float] = {}
        self.arrivals: defaultdict[str, list[float]] = defaultdict(list)
        self.departures: Counter[str] = Counter()
        self.left: dict[str, float] = {}
        self.heard: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        if tls is not None:  # whoever reads first, in the thread of his connection, shakes hands
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Quiet."""

    def handle(self):
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_GET(self):
        self._json(200, {"version": "1", "data": [], "models": [], "names": ["theirs"]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, fault, *path = self.path.split("/")
        if "texts" in body:
            vectors = [[1.0, float(len(text))] for text in body["texts"]]
            self._json(200, {"vectors": vectors, "tokens": TOKENS[0]})
            return
        if "prompt" not in body and "messages" not in body:
            self._json(200, {"model": "theirs", "response": "", "done": True, "done_reason": "load"})
            return
        self.dialect = DIALECTS["/" + "/".join(path)]
        self.asked = self.dialect.read(body)
        self.server.upstream.asked[self.asked.text] = time.monotonic()
        self.server.upstream.arrivals[self.asked.text].append(time.monotonic())
        self.stream = body.get("stream", self.dialect.kind == "application/x-ndjson")
        said = answer_to(self.asked)
        self.frames = self.dialect.frames(said, body) if self.stream else [_bytes(self.dialect.whole(said))]
        if self.asked.text.startswith("error"):
            self._json(400, self.dialect.error("You asked for it."))
        elif self.asked.text.startswith("leave"):
            self._until_left(words=self.stream)
        else:
            getattr(self, f"_{fault}")()

    def _well(self):
        self._begin()
        for frame in self.frames:
            self._piece(frame)
        self._end()

    def _hang(self):
        self._until_left()

    def _hang_within(self):
        self._half()
        self._until_left(begun=True)

    def _cut(self):
        self._first_words()
        rest = self._rest()
        self._piece(rest[: len(rest) // 2], whole=False)
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _busy(self):
        self._json(429, self.dialect.error("Too many requests."), {"Retry-After": "30"})

    def _twice(self):
        """Too busy for the first two who ask this."""
        if len(self.server.upstream.arrivals[self.asked.text]) > 2:
            self._well()
        else:
            self._json(503, self.dialect.error("Too busy."), {"Retry-After": "1"})

    def _broken(self):
        self._json(500, self.dialect.error("Something broke.") | {"trace": "not for callers"})

    def _garbled(self):
        self._begin(len(self.dialect.garbled))
        self._piece(self.dialect.garbled)
        self._end()

    def _garbled_within(self):
        if not self.stream:
            self._garbled()
            return
        self._first_words()
        self._piece(self.dialect.garbled + self._rest())
        self._end()

    def _reports(self):
        if not self.stream:
            self._broken()
            return
        self._first_words()
        self._piece(self.dialect.trouble)
        self._end()

    def _page(self):
        data = b"<html>\n\n<body>Please log in.</body>\n\n</html>"
        self._head(200, "text/html", len(data))
        self.wfile.write(data)

    def _drip(self):
        """To its end in small pieces, which split frames and characters."""
        data = b"".join(self.frames)
        self._begin()
        for at in range(0, len(data), 5):
            self._piece(data[at : at + 5])
        self._end()

    def _endless(self):
        self._until_left(words=True)

    def _huge(self):
        if not self.stream:
            self.frames = [self.frames[0][:-1] + b" " * HUGE + b"}"]
            self._well()
            return
        self._begin()
        self._piece(self.dialect.garbled.rstrip(b"\n") + b" " * HUGE)
        self._end()

    def _early(self):
        """A proper end of the body, but not of the answer."""
        if self.stream:
            self._half()
        else:
            half = len(self.frames[0]) // 2
            self._begin(half)
            self._piece(self.frames[0][:half])
        self._end()

    def _first_words(self):
        """Some of the answer; what comes next comes when that has been heard."""
        self._half()
        if self.stream:
            self.server.upstream.heard[self.asked.text].wait(5)

    def _half(self):
        """The first frames of a stream, or the first bytes of a body."""
        self._begin()
        if self.stream:
            for frame in self.frames[: len(self.frames) // 2]:
                self._piece(frame)
        else:
            self._piece(self.frames[0][:20])

    def _rest(self):
        return b"".join(self.frames[len(self.frames) // 2 :]) if self.stream else self.frames[0][20:]

    def _until_left(self, *, words=False, begun=False):
        """Say nothing more, or one word after the other, until the asker goes."""
        if words and not begun:
            self._begin(1_000_000)
            for frame in self.frames[: self.dialect.opening if self.stream else 0]:
                self._piece(frame)
        while not self.server.upstream.closing.is_set():
            ready, _, _ = select.select([self.connection], [], [], 1 / _WORDS_A_SECOND)
            if ready and self._is_gone():
                self.server.upstream.left[self.asked.text] = time.monotonic()
                self.server.upstream.departures[self.asked.text] += 1
                break
            if words:
                self._piece(self.dialect.word("word ") if self.stream else b" ")
        self.close_connection = True

    def _is_gone(self):
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _begin(self, length=None):
        if self.stream:
            self._head(200, self.dialect.kind)
        else:
            self._head(200, "application/json", len(self.frames[0]) if length is None else length)

    def _head(self, status, kind, length=None, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.chunked = length is None
        self.send_header(*(("Transfer-Encoding", "chunked") if self.chunked else ("Content-Length", str(length))))
        try:
            self.end_headers()
        except OSError:  # who leaves may be gone before the first word
            self.server.upstream.left[self.asked.text] = time.monotonic()
            raise

    def _piece(self, data, *, whole=True):
        if self.chunked:
            end = b"\r\n" if whole else b""
            data = b"%x\r\n%s%s" % (len(data) + (not whole), data, end)
        try:
            self.wfile.write(data)
        except OSError:
            self.server.upstream.left[self.asked.text] = time.monotonic()
            raise

    def _end(self):
        if self.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _json(self, status, fields, headers=None):
        data = _bytes(fields)
        self._head(status, "application/json", len(data), headers)
        self.wfile.write(data)


def _bytes(fields):
    return json.dumps(fields).encode()
