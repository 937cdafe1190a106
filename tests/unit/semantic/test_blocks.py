"""Vectors in memory: what is nearest, also while rows come and go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.cache.semantic.block import Block, quantised
from enginehouse.core.cache.semantic.blocks import Blocks

SIZE = 384


def unit(count, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, SIZE)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(vectors):
    return Block([(number, *quantised(vector)) for number, vector in enumerate(vectors)])


def test_a_byte_a_number_keeps_the_cosine():
    one, other = unit(2, 1)
    mixed = one * 0.9 + other * 0.4
    mixed /= np.linalg.norm(mixed)
    (near,) = filled(mixed[None, :]).view().nearest(one, 1)
    assert near.cosine == pytest.approx(float(one @ mixed), abs=0.003)


@pytest.mark.parametrize("count", [1, 7, 500, 5000])
def test_the_nearest_is_found_in_small_and_large_blocks(count):
    vectors = unit(count, count)
    queries = vectors[:200] + 0.02 * unit(min(count, 200), 3)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    view = filled(vectors).view()
    found = [view.nearest(query, 5)[0].number for query in queries]
    exact = np.einsum("qj,ij->qi", queries, vectors).argmax(axis=1)
    assert np.mean(np.array(found) == exact) >= 0.995


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120))
@settings(max_examples=25, deadline=None)
def test_rows_come_and_go(steps):
    vectors, block, there = unit(200, 9), Block([]), set()
    for number, (comes, which) in enumerate(steps):
        if comes:
            block.put(number, *quantised(vectors[number]))
            there.add(number)
        elif there:
            gone = sorted(there)[which % len(there)]
            block.drop(gone)
            there.remove(gone)
        assert len(block) == len(there)
    found = block.view().nearest(vectors[0], 200)
    assert {near.number for near in found} == there
    for number in there:
        assert block.view().nearest(vectors[number], 1)[0].number == number


def test_a_block_grows_large_and_small_again():
    vectors = unit(4200, 4)
    block = filled(vectors[:4000])
    for number in range(4000, 4200):
        block.put(number, *quantised(vectors[number]))
    assert block.large
    assert block.view().nearest(vectors[4150], 1)[0].number == 4150
    for number in range(200):
        block.drop(number)
    assert not block.large
    assert block.view().nearest(vectors[4150], 1)[0].number == 4150


def test_a_view_is_of_its_moment():
    vectors = unit(3, 5)
    block = filled(vectors[:2])
    view = block.view()
    block.put(2, *quantised(vectors[2]))
    assert {near.number for near in view.nearest(vectors[2], 5)} == {0, 1}


def test_the_longest_unused_block_goes_when_memory_is_full():
    vectors = unit(10, 6)
    one = filled(vectors)
    blocks = Blocks(max_bytes=one.size * 2)
    for scope in (b"a", b"b"):
        blocks.keep(scope, filled(vectors))
    assert blocks.get(b"a") is not None
    blocks.keep(b"c", filled(vectors))
    assert blocks.get(b"b") is None
    assert blocks.get(b"a") is not None
    assert blocks.size <= one.size * 2
    blocks.put(b"b", 10, *quantised(vectors[0]))
    assert blocks.get(b"b") is None, "a block that is not in memory is read when it is needed"
