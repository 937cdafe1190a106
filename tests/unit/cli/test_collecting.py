"""The garbage collector rests while a house is built, and no longer."""

import gc

import pytest

from enginehouse.cli import collecting


@pytest.fixture(autouse=True)
def _as_before():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    assert gc.isenabled()


def test_it_rests_until_what_stands_is_spared():
    with collecting.resting():
        assert not gc.isenabled()
        collecting.spare_what_stands()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()


def test_it_goes_on_where_nothing_is_to_be_served():
    with collecting.resting():
        collecting.go_on()
        assert gc.isenabled()


def test_a_start_that_fails_leaves_it_as_it_was():
    with pytest.raises(ValueError, match="port"), collecting.resting():
        raise ValueError("port")
    assert gc.isenabled()
