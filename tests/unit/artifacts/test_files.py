"""Hashing, digests on record, and one writer at a time."""

import asyncio
import hashlib
import os
import threading

import pytest

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.files import exclusive, in_steps, recorded, remember, settled, sha256_of


async def test_a_digest_is_that_of_the_bytes(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x" * 3_000_001)
    assert await sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_record_is_what_sha256sum_reads(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    remember(file, "ab" * 32)
    assert (tmp_path / "f.sha256").read_text() == f"{'ab' * 32}  f\n"
    assert recorded(file) == "ab" * 32


def test_a_file_that_is_newer_than_its_record_has_none(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    remember(file, "ab" * 32)
    os.utime(file, ns=(1 << 62, 1 << 62))
    assert recorded(file) is None


@pytest.mark.parametrize("text", [b"", b"short", b"\xff\xfe", b"g" * 64, b"a" * 65])
def test_a_record_that_is_none(tmp_path, text):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    (tmp_path / "f.sha256").write_bytes(text)
    assert recorded(file) is None


async def test_a_cancelled_caller_leaves_only_when_the_thread_has_ended():
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go.wait()
        ended.set()

    async def caller():
        try:
            await settled(work)
        finally:
            assert ended.is_set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(caller())
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
    assert task.cancelled()


async def test_steps_are_closed_when_one_fails():
    closed = []

    def steps():
        try:
            yield 1
            raise OSError("full")
        finally:
            closed.append(True)

    seen = []
    with pytest.raises(OSError, match="full"):
        await in_steps(steps(), seen.append)
    assert (seen, closed) == ([1], [True])


async def test_one_writer_at_a_time(tmp_path):
    lock, order = tmp_path / "locks" / "a.lock", []
    holds, looked = asyncio.Event(), asyncio.Event()

    async def first():
        async with exclusive(lock, lambda: None):
            holds.set()
            await looked.wait()
            order.append("first")

    async def second():
        await holds.wait()
        async with exclusive(lock, looked.set):
            order.append("second")

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())
    assert order == ["first", "second"]


async def test_a_lock_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="Nothing can be written"):
        async with exclusive(tmp_path / "file" / "a.lock", lambda: None):
            pass
