"""An OpenAI-compatible server that talks as long and as slowly as its question says, and remembers who hung up."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Talker:
    """Use as a context. A question is a number of words, and seconds between two of them: `20 0.01`.

    Attributes:
        heard: the messages of every request, in order.
        running: how many are being answered.
        hold: while it is not set, answers end after their last word only when it is.
        told: set when the last word of an answer has been said.
    """

    def __init__(self):
        self.heard, self.running = [], 0
        self.hold, self.told = threading.Event(), threading.Event()
        self.hold.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads, self._server.talker = True, self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self, change):
        with self._lock:
            self.running += change


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Quiet."""

    def do_POST(self):
        talker = self.server.talker
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        talker.heard.append(body["messages"])
        words, _, pause = body["messages"][-1]["content"].partition(" ")
        talker.count(1)
        try:
            with suppress(OSError):
                self._talk(int(words), float(pause or 0), talker)
        finally:
            talker.count(-1)

    def _talk(self, words, pause, talker):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(words):
            self._say({"delta": {"content": f"w{number} "}, "finish_reason": None})
            time.sleep(pause)
        talker.told.set()
        talker.hold.wait()
        self._say({"delta": {}, "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")

    def _say(self, choice):
        self.wfile.write(b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n")
        self.wfile.flush()
