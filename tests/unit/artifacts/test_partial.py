"""The part of a file that is here."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.stores.artifacts.partial import Note, Onlooker, Partial
from tests.unit.artifacts.watchers import Diary

NOTE = Note(url="https://h.example/f", validator='"v1"', size=10)


def run(steps):
    return sum(steps)


@given(runs=st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=5))
def test_however_often_it_is_broken_off_the_digest_is_that_of_all_bytes(tmp_path_factory, runs):
    target = tmp_path_factory.mktemp("partial") / "f"
    first = Partial(target)
    first.begin(NOTE)
    first.close()
    for chunks in runs:
        partial = Partial(target)
        run(partial.recall())
        assert partial.note == NOTE
        for chunk in chunks:
            partial.write(chunk)
        partial.close()
    last = Partial(target)
    run(last.recall())
    whole = b"".join(chunk for chunks in runs for chunk in chunks)
    assert (last.size, last.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    last.complete()
    assert target.read_bytes() == whole
    assert [p.name for p in target.parent.iterdir()] == ["f"]


@pytest.mark.parametrize("note", [None, b"", b"{", b"[]", b'{"url": 1}'])
def test_bytes_without_a_readable_note_are_of_no_use(tmp_path, note):
    (tmp_path / "f.part").write_bytes(b"bytes")
    if note is not None:
        (tmp_path / "f.part.json").write_bytes(note)
    partial = Partial(tmp_path / "f")
    assert run(partial.recall()) == 0
    assert (partial.size, partial.note) == (0, None)


def test_beginning_anew_forgets_what_was_there(tmp_path):
    partial = Partial(tmp_path / "f")
    partial.begin(NOTE)
    partial.write(b"old")
    partial.begin(Note(url="other"))
    partial.write(b"new")
    partial.close()
    again = Partial(tmp_path / "f")
    assert run(again.recall()) == 3
    assert again.sha256 == hashlib.sha256(b"new").hexdigest()
    assert again.note == Note(url="other")


def test_discarding_leaves_nothing(tmp_path):
    partial = Partial(tmp_path / "f")
    partial.begin(NOTE)
    partial.write(b"old")
    partial.discard()
    assert not list(tmp_path.iterdir())
    assert (partial.size, partial.note) == (0, None)


def test_an_onlooker_tells_of_another_s_progress(tmp_path):
    diary = Diary()
    onlooker = Onlooker(tmp_path, "*.part", diary)
    onlooker.look()
    assert diary.events == []
    partial = Partial(tmp_path / "f")
    partial.begin(NOTE)
    partial.write(b"abc")
    onlooker.look()
    partial.write(b"de")
    onlooker.look()
    onlooker.look()
    partial.close()
    onlooker.finish()
    assert diary.events == [
        ("started", "f", 10, 3),
        ("waiting", "f", "it is being fetched already"),
        ("advanced", "f", 2),
        ("finished", "f"),
    ]


def test_an_onlooker_sees_a_new_beginning(tmp_path):
    diary = Diary()
    onlooker = Onlooker(tmp_path, "*.part", diary)
    (tmp_path / "f.part").write_bytes(b"abc")
    onlooker.look()
    (tmp_path / "f.part").write_bytes(b"a")
    onlooker.look()
    assert [event for event in diary.events if event[0] == "started"] == [
        ("started", "f", None, 3),
        ("started", "f", None, 1),
    ]
