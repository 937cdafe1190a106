"""A server that has its sockets in its own hands: it can end them without a word, or never begin to speak TLS."""

import socket
import struct
import threading
from contextlib import contextmanager, suppress


class Speaker:
    """Each connection is one act's, in a thread of its own.

    Args:
        act: is given the connection.
        tls: what it speaks TLS with; None: it does not.

    Attributes:
        connections: how many there were.
        over: set when an act has come to its end.
    """

    def __init__(self, act, tls=None):
        self._act = act
        self._tls = tls
        self.connections = 0
        self.over = threading.Event()

    @contextmanager
    def __call__(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self._listening = listening
            accepting = threading.Thread(target=self._accept, daemon=True)
            accepting.start()
            try:
                yield f"127.0.0.1:{listening.getsockname()[1]}"
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                accepting.join(5)

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(10)
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._act(connection)
        self.over.set()


def head_from(connection):
    """The head of a request, and nothing of its body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("nobody asks any more")
        head += byte
    return head


def until_it_ends(connection):
    """Whatever the client may say, until it has gone."""
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass


def cut(connection):
    """As when a machine goes down: neither TLS nor TCP say goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
