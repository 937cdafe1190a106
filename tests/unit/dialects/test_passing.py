"""Whole frames out of arbitrary chunks."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.dialects.passing import data_of, whole_pieces
from enginehouse.errors import UpstreamDied


def regroup(chunks):
    async def source():
        for chunk in chunks:
            yield chunk

    async def run():
        return [block async for block in whole_pieces(source())]

    return asyncio.run(run())


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


FRAMES = [b'data: {"a":"\xc3\xa4"}\n\n', b": ping\n\n", b"event: x\ndata: 1\n\n", b"data: [DONE]\n\n"]


@given(st.lists(st.sampled_from(FRAMES), max_size=6), st.lists(st.integers(0, 500), max_size=8))
def test_any_chunking_gives_the_same_bytes_in_whole_pieces(frames, places):
    data = b"".join(frames)
    blocks = regroup(cut(data, places))
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n\n") for block in blocks)


def test_a_frame_without_its_end_is_dropped():
    assert regroup([b"data: 1\n\ndata: 2"]) == [b"data: 1\n\n"]


def test_windows_line_ends_are_read_too():
    assert regroup([b"data: 1\r\n\r\n"]) == [b"data: 1\n\n"]


def test_a_frame_without_bound_is_refused():
    with pytest.raises(UpstreamDied):
        regroup([b"x" * (1024 * 1024)] * 17)


def test_data_of_joins_lines_and_ignores_comments():
    assert data_of(b"data: a\ndata:b") == b"a\nb"
    assert data_of(b": ping") is None
