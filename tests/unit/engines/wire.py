"""A connection without a socket, and answers as they go over it."""

import asyncio
from itertools import pairwise

from enginehouse.engines.http.connection import Connection


class Line(asyncio.Transport):
    """The transport's end that the test holds."""

    def __init__(self):
        super().__init__()
        self.sent = b""
        self.reading = True
        self.over = False
        self.protocol = None
        self.freed = []
        self.unsent = 0

    def writelines(self, list_of_data):
        self.sent += b"".join(list_of_data)

    def abort(self):
        if not self.over:
            self.over = True
            self.protocol.connection_lost(None)

    def is_closing(self):
        return self.over

    def get_write_buffer_size(self):
        return self.unsent

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def connected(silence=10.0):
    clock, line, lost = Clock(), Line(), []
    connection = Connection(silence, clock, line.freed.append, lost.append)
    line.protocol = connection
    connection.connection_made(line)
    return connection, line, clock, lost


def cut_up(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def chunked(pieces):
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def measured(pieces):
    body = b"".join(pieces)
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
