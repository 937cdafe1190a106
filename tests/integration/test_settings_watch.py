"""The settings file is watched, whatever way it is edited."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from enginehouse.settings import Settings, load, watch

pytestmark = pytest.mark.integration


class Watcher:
    """Collects what `watch` yields."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[Settings] = asyncio.Queue()

    async def next(self) -> Settings:
        return await asyncio.wait_for(self.seen.get(), 10)


@asynccontextmanager
async def watching(path: Path, settings: Settings, environ=None) -> AsyncIterator[Watcher]:
    watcher = Watcher()

    async def follow() -> None:
        async with aclosing(watch(path, settings, environ or {})) as edits:
            async for edit in edits:
                watcher.seen.put_nowait(edit)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(follow())
        yield watcher
        task.cancel()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "enginehouse.yaml"
    path.write_text("server: {debug: false}\n", encoding="utf-8")
    return path


async def until(happened: Callable[[], object]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - a list of log lines does not notify
            await asyncio.sleep(0.01)


def replace(path: Path, text: str) -> None:
    """Edit as editors do: write beside, then rename over."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


@pytest.mark.parametrize(
    "edit", [lambda path, text: path.write_text(text, encoding="utf-8"), replace], ids=["write", "replace"]
)
async def test_edits_are_handed_on_one_after_the_other(path, edit):
    async with watching(path, load(path, {})) as watcher:
        for port in (1, 2, 3):
            edit(path, f"server: {{port: {port}}}\n")
            assert (await watcher.next()).server.port == port


async def test_an_edit_before_the_watch_began_is_not_lost(path):
    settings = load(path, {})
    replace(path, "server: {port: 7}\n")
    async with watching(path, settings) as watcher:
        assert (await watcher.next()).server.port == 7


async def test_a_wrong_edit_is_refused_and_logged_and_the_next_right_one_counts(path):
    with capture_logs() as logs:
        async with watching(path, load(path, {})) as watcher:
            replace(path, "server: {prot: 1}\n")
            await until(lambda: logs)
            replace(path, "server: {port: 2}\n")
            assert (await watcher.next()).server.port == 2
    refused, changed = logs
    assert (refused["event"], refused["log_level"]) == ("settings_refused", "warning")
    assert "server.prot (line 1)" in refused["error"]
    assert (changed["event"], changed["keys"], changed["restart"]) == (
        "settings_changed",
        ["server.port"],
        ["server.port"],
    )


async def test_an_edit_that_changes_no_value_is_no_edit(path):
    async with watching(path, load(path, {})) as watcher:
        replace(path, "# a comment\nserver: {debug: false}\n")
        replace(path, "server: {debug: true}\n")
        assert (await watcher.next()).server.debug
        assert watcher.seen.empty()


async def test_the_environment_still_wins(path):
    environ = {"PORT": "9"}
    async with watching(path, load(path, environ), environ) as watcher:
        replace(path, "server: {port: 1, debug: true}\n")
        settings = await watcher.next()
        assert (settings.server.port, settings.server.debug) == (9, True)


async def test_a_file_that_goes_and_comes_back_is_read_again(path):
    with capture_logs() as logs:
        async with watching(path, load(path, {})) as watcher:
            path.unlink()
            await until(lambda: logs)
            path.write_text("server: {port: 4}\n", encoding="utf-8")
            assert (await watcher.next()).server.port == 4


async def test_a_file_that_is_empty_is_not_finished(path):
    path.write_text("server: {port: 3}\n", encoding="utf-8")
    async with watching(path, load(path, {})) as watcher:
        path.write_text("", encoding="utf-8")
        await asyncio.sleep(1.5)
        assert watcher.seen.empty()
        path.write_text("server: {port: 5}\n", encoding="utf-8")
        assert (await watcher.next()).server.port == 5


@pytest.mark.skipif(sys.platform != "linux", reason="looks at what Linux tells of a process")
async def test_nobody_is_woken_by_what_else_is_written_in_its_folder(path):
    """The database may lie there, and is written with every request."""
    before = told_by_the_kernel()
    async with watching(path, load(path, {})) as watcher:
        await asyncio.sleep(0.1)
        assert told_by_the_kernel() == before
        replace(path, "server: {port: 2}\n")
        await watcher.next()
        assert told_by_the_kernel() == before


def told_by_the_kernel() -> int:
    """How many watches this process has on files and folders."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum("inotify" in link.name for link in links)


async def test_a_link_that_is_turned_is_an_edit(tmp_path):
    """Kubernetes keeps a mounted file as a link through a folder that it swaps."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "house.yaml").write_text(f"server: {{port: {number}}}\n", encoding="utf-8")
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "house.yaml"
    path.symlink_to("..data/house.yaml")
    settings = load(path, {})
    assert settings.server.port == 1
    async with watching(path, settings) as watcher:
        (tmp_path / "..tmp").symlink_to("v2")
        (tmp_path / "..tmp").replace(tmp_path / "..data")
        assert (await watcher.next()).server.port == 2
