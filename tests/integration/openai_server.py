"""A small OpenAI-compatible server whose answers are as slow or broken as the question asks for."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAUSE = 0.02
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class FakeOpenAI:
    """Use as a context. `bodies` holds every request, `hung_up` is set when a caller leaves a stream."""

    def __init__(self):
        self.bodies: list[dict] = []
        self.hung_up = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def last_messages(self):
        return self.bodies[-1]["messages"]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        models = [{"id": name, "object": "model"} for name in ("parrot", "jackdaw")]
        self._json(200, {"object": "list", "data": models})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.fake.bodies.append(body)
        question = body["messages"][-1]["content"]
        if question == "refuse":
            self._json(400, {"error": {"message": "I will not.", "type": "invalid_request_error"}})
            return
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
            self._json(200, {"choices": [choice], "usage": _USAGE})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._answer(question)
        except OSError:
            self.server.fake.hung_up.set()

    def _answer(self, question):
        if question == "count":
            for number in range(10_000):
                self._delta(f"{number} ")
                time.sleep(PAUSE)
        words = {"fail": "Well, ", "break": "Well, "}.get(question, f"You said {question!r}.")
        self._delta(words)
        if question == "fail":
            self._frame({"error": {"message": "The engine tripped.", "type": "server_error"}})
        if question in {"fail", "break"}:
            return
        self._frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._frame({"choices": [], "usage": _USAGE})
        self._write(b"data: [DONE]\n\n")

    def _delta(self, text):
        self._frame({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    def _frame(self, content):
        self._write(b"data: " + json.dumps(content).encode() + b"\n\n")

    def _write(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def _json(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
