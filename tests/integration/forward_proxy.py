"""A forward proxy on loopback: it alone knows where some hosts are, and may want a password of who comes."""

import base64
import select
import socket
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.integration.loopback import Loopback


class ForwardProxy(Loopback):
    """Use as a context.

    Args:
        hosts: host and port → the address on loopback where that server really is.
        login: `name:password` that it wants to hear.

    Attributes:
        asked: request lines, in order.
    """

    def __init__(self, hosts, login=None):
        super().__init__(_Passing)
        self.hosts = {place: urlsplit(url).netloc for place, url in hosts.items()}
        self.credentials = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"
        self.asked = []


class _Passing(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing."""

    def do_CONNECT(self):
        target = self._target(self.path)
        if target is None:
            return
        with socket.create_connection(target) as there:
            self.send_response(200)
            self.end_headers()
            _relay(self.connection, there)
        self.close_connection = True

    def do_GET(self):
        url = urlsplit(self.path)
        target = self._target(f"{url.hostname}:{url.port or 80}")
        if target is None:
            return
        there = HTTPConnection(*target)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        there.request(self.command, url.path, body, dict(self.headers.items()))
        answer = there.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "server", "date"}:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1():
            self.wfile.write(piece)
        there.close()

    do_POST = do_GET  # noqa: N815 - as the library calls it

    def _target(self, place):
        owner = self.server.owner
        owner.asked.append(self.requestline)
        if owner.credentials not in {None, self.headers.get("Proxy-Authorization")}:
            self.send_error(407)
        elif place not in owner.hosts:
            self.send_error(403)
        else:
            host, _, port = owner.hosts[place].partition(":")
            return host, int(port)
        self.close_connection = True
        return None


def _relay(one, other):
    ways = {one: other, other: one}
    while True:
        for ready in select.select(list(ways), [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            ways[ready].sendall(data)
