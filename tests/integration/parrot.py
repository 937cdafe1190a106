"""An upstream that knows one answer to everything, at once: for tests whose questions do not matter."""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Parrot:
    """An OpenAI-compatible server; use as a context."""

    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        self._json({"object": "list", "data": [{"id": "parrot", "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/embeddings":
            count = len(body["input"]) if isinstance(body["input"], list) else 1
            data = [{"object": "embedding", "index": index, "embedding": [0.6, 0.8]} for index in range(count)]
            self._json({"object": "list", "data": data, "model": "parrot", "usage": USAGE})
        elif body.get("stream"):
            said = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(self.path))
            self._send("text/event-stream", (said + "data: [DONE]\n\n").encode())
        else:
            choice = {"index": 0, "finish_reason": "stop", **_words(self.path, "message")}
            self._json(_answer(self.path, [choice]) | {"usage": USAGE})

    def _json(self, content):
        self._send("application/json", json.dumps(content).encode())

    def _send(self, media_type, data):
        with suppress(OSError):  # whose caller has left
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def _chunks(path):
    yield _answer(path, [{"index": 0, "finish_reason": None, **_words(path, "delta")}])
    end = {} if path == "/v1/completions" else {"delta": {}}
    yield _answer(path, [{"index": 0, "finish_reason": "stop", "text": "", **end}])
    yield _answer(path, []) | {"usage": USAGE}


def _words(path, name):
    return {"text": "Hello."} if path == "/v1/completions" else {name: {"role": "assistant", "content": "Hello."}}


def _answer(path, choices):
    kind = "text_completion" if path == "/v1/completions" else "chat.completion"
    return {"id": "p1", "object": kind, "created": 1, "model": "parrot", "choices": choices}
