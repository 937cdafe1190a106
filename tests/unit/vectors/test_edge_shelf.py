"""Collections on disk: what a crash leaves is made whole, what is damaged is refused by its name."""

import shutil

import pytest

from enginehouse.errors import Conflict, NotFound, StoreError
from enginehouse.stores.vectors.base import Key, Page
from enginehouse.stores.vectors.edge import messages as m
from enginehouse.stores.vectors.edge.shelf import Shelf
from enginehouse.stores.vectors.edge.tuning import Tuning
from tests.vectors import KEY, SHAPE, point

TUNING = Tuning(threads=1, quiet=0.0)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "vectors"


def opened(root, tuning=TUNING):
    return Shelf(root, tuning)


def filled(root, count=20):
    shelf = opened(root)
    shelf.answer(m.Create(KEY, SHAPE))
    shelf.answer(m.Upsert(KEY, [point(number) for number in range(count)]))
    return shelf


def ids(shelf, key=KEY):
    found, _ = shelf.answer(m.Read(key, Page(limit=1000)))
    return [hit.id for hit in found]


def crashed(root, tmp_path):
    """What a kill would leave: the files as they are while everything is open."""
    image = tmp_path / "image"
    shutil.copytree(root, image)
    return image


def test_every_change_is_there_after_a_crash(root, tmp_path):
    shelf = filled(root)
    shelf.tend()
    shelf.answer(m.Upsert(KEY, [point(number, new=True) for number in range(15, 25)]))
    shelf.answer(m.Delete(KEY, [0, 1], None))
    shelf.answer(m.Delete(KEY, None, {"must": [{"key": "new", "match": {"value": True}}]}))
    shelf.answer(m.Upsert(KEY, [point(24, again=1)]))
    after = opened(crashed(root, tmp_path))
    assert ids(after) == [*range(2, 15), 24]
    found, _ = after.answer(m.Read(KEY, Page(limit=1000)))
    assert found[-1].payload == {"again": 1}
    assert found[0].payload == {}


def test_it_is_there_after_an_orderly_end_too(root):
    filled(root).close()
    shelf = opened(root)
    assert ids(shelf) == list(range(20))
    assert shelf.idle


def test_leftovers_are_swept_and_names_are_free_again(root, tmp_path):
    shelf = filled(root)
    for leftover in (".new-x", ".gone-y"):
        (root / "scope" / leftover / "shard-1").mkdir(parents=True)
    (root / "scope" / "docs" / "shard-9").mkdir()
    after = opened(crashed(root, tmp_path))
    assert ids(after) == list(range(20))
    assert sorted(path.name for path in (tmp_path / "image" / "scope").iterdir()) == ["docs"]
    assert [path.name for path in (tmp_path / "image" / "scope" / "docs").glob("shard-*")] == ["shard-1"]
    with pytest.raises(Conflict):
        shelf.answer(m.Create(KEY, SHAPE))


def test_a_collection_that_cannot_be_made_leaves_nothing(root):
    shelf = opened(root)
    (root / "scope").write_text("in the way")
    with pytest.raises(OSError, match="scope"):
        shelf.answer(m.Create(KEY, SHAPE))


DAMAGES = {
    "no card": lambda f: (f / "collection.json").unlink(),
    "torn card": lambda f: (f / "collection.json").write_text('{"size": 4'),
    "another card": lambda f: (f / "collection.json").write_text('{"size": 9, "distance": "cosine"}'),
    "no pointer": lambda f: (f / "current").unlink(),
    "pointer to nothing": lambda f: (f / "current").write_text("shard-7"),
    "no tally": lambda f: (f / "points").unlink(),
    "a part is missing": lambda f: shutil.rmtree(next((f / "shard-1" / "segments").iterdir())),
    "a part is unfinished": lambda f: next(f.glob("shard-1/segments/*/version.info")).unlink(),
    "ids are cut off": lambda f: cut(next(f.glob("shard-1/segments/*/*.mappings"))),
    "a panic": lambda f: next(f.glob("shard-1/segments/*/vector_storage/vectors/status.dat")).write_bytes(b""),
    "an empty folder": lambda f: [shutil.rmtree(f), f.mkdir()],
}


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_with_the_name_and_never_served(root, damage):
    shelf = filled(root)
    for number in range(20, 23):
        shelf.tend()
        shelf.answer(m.Upsert(KEY, [point(number)]))
    shelf.tend()
    shelf.close()
    DAMAGES[damage](root / "scope" / "docs")
    shelf = opened(root)
    for question in (m.Describe(KEY), m.Count(KEY, None), m.Upsert(KEY, [point(1)])):
        with pytest.raises(StoreError, match="'docs' is damaged") as told:
            shelf.answer(question)
        assert str(root) not in told.value.message
    (state,) = shelf.answer(m.LookAll(KEY))
    assert (state.status, state.name) == ("damaged", "docs")
    assert "damaged" in state.detail
    shelf.answer(m.Drop(KEY))
    shelf.answer(m.Create(KEY, SHAPE))
    assert ids(shelf) == []


def test_many_collections_are_open_by_turns(root):
    shelf = Shelf(root, TUNING, most_open=2)
    keys = [Key("scope", f"c{number}") for number in range(4)]
    for number, key in enumerate(keys):
        shelf.answer(m.Create(key, SHAPE))
        shelf.answer(m.Upsert(key, [point(number)]))
    for number, key in enumerate(keys):
        assert ids(shelf, key) == [number]


def test_what_is_not_there(root):
    shelf = opened(root)
    with pytest.raises(NotFound):
        shelf.answer(m.Drop(KEY))
    assert shelf.answer(m.LookAll(KEY)) == []
    assert shelf.idle
