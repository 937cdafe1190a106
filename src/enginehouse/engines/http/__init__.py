"""Servers asked over HTTP: the server as engines see it, and the two clients that can carry a request there.

`server` chooses: `pool` speaks HTTP/1.1 over connections of our own (`connection`), plain or over TLS (`tls`);
`library` is aiohttp, for addresses that want more than a host and a port. Both give a `reply`; one suite of tests
runs over both. What the pool reads is an `incoming`; a `carrier` sends on a connection that is free, for whom
nothing is out of the ordinary.
"""

from enginehouse.engines.http.incoming import Unheard
from enginehouse.engines.http.reply import HttpReply, events_of_stream, streamed, taken
from enginehouse.engines.http.server import HttpServer, address_of

__all__ = ["HttpReply", "HttpServer", "Unheard", "address_of", "events_of_stream", "streamed", "taken"]
