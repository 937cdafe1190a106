"""What the build of the guard keeps of its work, so that a run that was broken off goes on."""

import pytest

from models.guard.kept import digest, keep, kept


def put(text):
    return lambda path: path.write_text(text)


def test_what_is_kept_is_used_again_as_long_as_it_is_made_from_the_same(tmp_path):
    file, data = tmp_path / "deep" / "states.pt", tmp_path / "data"
    data.write_text("texts")
    source = digest(data, 2)
    assert not kept(file, source)
    keep(file, source, put("states"))
    assert kept(file, source)
    assert not kept(file, digest(data, 3))
    data.write_text("other texts")
    assert not kept(file, digest(data, 2))


def test_a_file_that_was_changed_is_made_again(tmp_path):
    file = tmp_path / "states.pt"
    keep(file, "source", put("states"))
    file.write_text("statez")
    assert not kept(file, "source")


def test_what_was_broken_off_leaves_what_was_there(tmp_path):
    def breaks(path):
        path.write_text("half")
        raise KeyboardInterrupt

    file = tmp_path / "states.pt"
    keep(file, "source", put("whole"))
    with pytest.raises(KeyboardInterrupt):
        keep(file, "source", breaks)
    assert file.read_text() == "whole"
    assert kept(file, "source")
