"""Copies at hand, wherever they are kept: of one version, never of a deleted conversation.

Who runs them has the fixture `copies`, which makes what a replica has at hand.
"""


async def test_a_copy_is_of_one_version(copies):
    here = copies()
    await here.put("k", 3, b"three")
    assert [await here.get("k", version) for version in (2, 3, 4)] == [None, b"three", None]
    assert await here.get("other", 3) is None


async def test_an_older_one_never_comes_over_a_later(copies):
    here = copies()
    await here.put("k", 3, b"three")
    await here.put("k", 2, b"two")
    assert await here.get("k", 3) == b"three"
    await here.put("k", 10, b"ten")
    assert await here.get("k", 10) == b"ten"
    await here.put("k", 9, b"nine")
    assert await here.get("k", 10) == b"ten"


async def test_of_what_was_deleted_nothing_is_kept_however_late_it_comes(copies):
    here = copies()
    await here.put("k", 3, b"three")
    await here.drop("k")
    await here.put("k", 4, b"late")
    assert [await here.get("k", version) for version in (3, 4)] == [None, None]
