"""What a server may send at most."""

import asyncio
from types import SimpleNamespace

import pytest

from enginehouse.engines.http import HttpReply
from enginehouse.errors import UpstreamDied

CHUNK = bytes(16 * 1024 * 1024)


def read(chunks):
    async def content():
        for _ in range(chunks):
            yield CHUNK

    response = SimpleNamespace(status=200, headers={}, content=SimpleNamespace(iter_any=content))
    return asyncio.run(HttpReply(response).read())


def test_a_body_is_read_whole():
    assert read(2) == CHUNK * 2


def test_a_body_without_end_is_not_kept():
    with pytest.raises(UpstreamDied, match="256 MiB"):
        read(10_000)
