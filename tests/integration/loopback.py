"""HTTP servers of this process on loopback, for tests that want something to answer them."""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback:
    """A server on a port, a free one when none is named; use as a context.

    Args:
        handler: what answers; it finds this object as `self.server.owner`.
    """

    def __init__(self, handler, port=0):
        self._server = _Server(("127.0.0.1", port), handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    """Reads and writes JSON, and streams of it; answers by `get` and `post`."""

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        self.get()

    def do_POST(self):
        self.post()

    @property
    def owner(self):
        return self.server.owner

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def send(self, media_type, data, status=200):
        with suppress(OSError):  # whose caller has left
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def send_json(self, content, status=200):
        self.send("application/json", json.dumps(content).encode(), status)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()

    def frame(self, content):
        """One frame of a stream; raises OSError when its caller has left."""
        self.wfile.write(framed(content))
        self.wfile.flush()


def framed(content):
    """As a server-sent event."""
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"
