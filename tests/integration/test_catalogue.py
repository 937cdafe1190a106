"""The models folder on a real file system: what is dropped appears, what is removed vanishes."""

import asyncio
import shutil
from contextlib import aclosing, asynccontextmanager

import pytest

from enginehouse.core.catalogue import watch_folder
from enginehouse.testing.model_files import write_gguf, write_onnx_folder


class Folder:
    """Reads what `watch_folder` yields, as lists of ids."""

    def __init__(self, path):
        self.path = path
        self.sets = asyncio.Queue()

    async def follow(self):
        async with aclosing(watch_folder(self.path, settle=0.2, interval=0.1)) as stream:
            async for models in stream:
                self.sets.put_nowait([model.id for model in models])

    async def becomes(self, *ids):
        async with asyncio.timeout(10):
            while await self.sets.get() != list(ids):
                pass

    async def stays(self, seconds=0.5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.sets.get()


@asynccontextmanager
async def watched(path):
    folder = Folder(path)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(folder.follow())
        try:
            yield folder
        finally:
            task.cancel()


async def test_a_file_dropped_appears_and_one_removed_vanishes(tmp_path):
    write_gguf(tmp_path / "first.gguf")
    async with watched(tmp_path) as folder:
        await folder.becomes("first")
        write_onnx_folder(tmp_path / "bge")
        await folder.becomes("bge", "first")
        write_gguf(tmp_path / "author.gguf").rename(tmp_path / "second.gguf")
        await folder.becomes("bge", "first", "second")
        (tmp_path / "first.gguf").unlink()
        shutil.rmtree(tmp_path / "bge")
        await folder.becomes("second")


async def test_a_copy_appears_when_it_is_whole(tmp_path):
    whole = write_gguf(tmp_path / "elsewhere.bin").read_bytes()
    (tmp_path / "models").mkdir()
    copy = tmp_path / "models" / "slow.gguf"
    async with watched(tmp_path / "models") as folder:
        await folder.becomes()
        copy.write_bytes(whole[:500])
        await folder.stays()
        with copy.open("ab") as stream:
            stream.write(whole[500:])
        await folder.becomes("slow")


async def test_a_folder_that_comes_goes_and_comes_again(tmp_path):
    async with watched(tmp_path / "models") as folder:
        await folder.becomes()
        (tmp_path / "models").mkdir()
        write_gguf(tmp_path / "models" / "a.gguf")
        await folder.becomes("a")
        shutil.rmtree(tmp_path / "models")
        await folder.becomes()
        (tmp_path / "models").mkdir()
        write_gguf(tmp_path / "models" / "b.gguf")
        await folder.becomes("b")
