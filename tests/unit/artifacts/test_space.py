"""Room on the disk."""

import errno
import os

import pytest

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.space import ensure_room, free_bytes, writing


def test_what_fits_is_let_through(tmp_path):
    ensure_room("m.gguf", 1000, tmp_path, lambda _: 1000)


def test_what_does_not_fit_names_both_numbers(tmp_path):
    with pytest.raises(SourceError, match=r"m\.gguf: it needs 2\.0 GB \(2000000000 bytes\) more, 1\.0 GB \(1"):
        ensure_room("m.gguf", 2_000_000_000, tmp_path, lambda _: 1_000_000_000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fills_up_midway_names_both_numbers(tmp_path, number):
    with (
        pytest.raises(SourceError, match=r"needs 2\.0 kB \(2000 bytes\) more, 7 bytes \(7 bytes\) are free"),
        writing("m.gguf", 2000, tmp_path, lambda _: 7),
    ):
        raise OSError(number, os.strerror(number))


def test_a_disk_that_refuses_says_why(tmp_path):
    with (
        pytest.raises(SourceError, match=r"m\.gguf could not be written to .*: Permission denied"),
        writing("m.gguf", 1, tmp_path, lambda _: 7),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_folder_that_is_not_there_yet_has_the_room_of_its_disk(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0
