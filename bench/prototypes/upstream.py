"""The aiohttp client as a gateway wants it: no limit of connections, no total time-out, bytes as they come."""

import aiohttp

__all__ = ["session"]


def session() -> aiohttp.ClientSession:
    """A client session for the life of a process."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    )
