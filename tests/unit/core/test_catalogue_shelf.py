"""What of a folder can be shown at a moment; time is handed in."""

import os

from structlog.testing import capture_logs

from enginehouse.core.catalogue.shelf import Shelf
from enginehouse.testing.model_files import write_gguf, write_onnx_folder
from enginehouse.types import EngineName, Kind

NOON = 1_800_000_000.0
OLD = NOON - 3600


def age(path, when):
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(file, (when, when))
    return path


def gguf(path, when=OLD, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    return age(write_gguf(path, **values), when)


def ids(look):
    return [model.id for model in look.models]


def test_files_and_folders_become_models_with_ids_of_their_place(tmp_path):
    gguf(tmp_path / "Smol LM.Q4_1.gguf", values={"llama.context_length": 768})
    gguf(tmp_path / "author" / "name-v1.5.gguf")
    gguf(tmp_path / "big-00001-of-00002.gguf")
    gguf(tmp_path / "big-00002-of-00002.gguf")
    age(write_onnx_folder(tmp_path / "bge"), OLD)
    (tmp_path / "notes.txt").touch()
    gguf(tmp_path / ".hidden.gguf")
    look = Shelf(tmp_path, settle=2, slots=3).look(NOON)
    assert ids(look) == ["Smol-LM.Q4_1", "author/name-v1.5", "bge", "big"]
    assert (look.waiting, look.moving) == ({}, False)
    chat, _, embedder, big = look.models
    assert (chat.context_length, chat.created, chat.origin) == (256, int(OLD), "models_dir")
    assert chat.deployments[0].source == str(tmp_path / "Smol LM.Q4_1.gguf")
    assert chat.deployments[0].slots == 3
    assert (embedder.kind, embedder.deployments[0].engine) == (Kind.EMBEDDING, EngineName.ONNX)
    assert embedder.deployments[0].source == str(tmp_path / "bge")
    assert big.deployments[0].source == str(tmp_path / "big-00001-of-00002.gguf")


def test_a_fresh_file_is_shown_when_it_has_been_still(tmp_path):
    shelf = Shelf(tmp_path, settle=2)
    assert shelf.look(NOON).models == ()
    gguf(tmp_path / "a.gguf", when=NOON)
    look = shelf.look(NOON + 1)
    assert (ids(look), look.moving) == ([], True)
    gguf(tmp_path / "a.gguf", when=NOON + 1.5, weights=32)
    assert ids(shelf.look(NOON + 3)) == []
    look = shelf.look(NOON + 3.5)
    assert (ids(look), look.moving) == (["a"], False)


def test_a_time_in_the_future_does_not_hide_a_file(tmp_path):
    shelf = Shelf(tmp_path, settle=2)
    gguf(tmp_path / "a.gguf", when=NOON + 1e6)
    assert shelf.look(NOON).moving
    assert ids(shelf.look(NOON + 2)) == ["a"]


def test_a_half_copied_file_waits_and_is_told_once(tmp_path):
    file = gguf(tmp_path / "a.gguf")
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    age(file, OLD)
    shelf = Shelf(tmp_path, settle=2)
    with capture_logs() as lines:
        for _ in range(3):
            look = shelf.look(NOON)
            assert (ids(look), list(look.waiting), look.moving) == ([], ["a"], False)
    assert [line["model"] for line in lines] == ["a"]
    file.write_bytes(whole)
    age(file, OLD + 1)
    assert ids(shelf.look(NOON)) == ["a"]


def test_a_folder_waits_for_its_tokenizer_and_a_model_for_its_parts(tmp_path):
    folder = write_onnx_folder(tmp_path / "bge")
    tokenizer = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").unlink()
    age(folder, OLD)
    gguf(tmp_path / "big-00001-of-00002.gguf")
    shelf = Shelf(tmp_path, settle=2)
    assert sorted(shelf.look(NOON).waiting) == ["bge", "big"]
    (folder / "tokenizer.json").write_bytes(tokenizer)
    age(folder, OLD)
    gguf(tmp_path / "big-00002-of-00002.gguf")
    assert ids(shelf.look(NOON)) == ["bge", "big"]


def test_a_removed_one_vanishes(tmp_path):
    file = gguf(tmp_path / "a.gguf")
    gguf(tmp_path / "b.gguf")
    shelf = Shelf(tmp_path, settle=2)
    assert ids(shelf.look(NOON)) == ["a", "b"]
    file.unlink()
    assert ids(shelf.look(NOON)) == ["b"]


def test_what_can_have_no_id_is_passed_over_with_a_reason(tmp_path):
    gguf(tmp_path / "load.gguf")
    gguf(tmp_path / "a.gguf")
    age(write_onnx_folder(tmp_path / "a"), OLD)
    look = Shelf(tmp_path, settle=2).look(NOON)
    assert ids(look) == ["a"]
    assert sorted(look.waiting) == ["a.gguf", "load.gguf"]


def test_a_missing_folder_and_a_circle_of_links_are_no_mistake(tmp_path):
    assert Shelf(tmp_path / "missing", settle=2).look(NOON).models == ()
    gguf(tmp_path / "sub" / "a.gguf")
    (tmp_path / "sub" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert ids(Shelf(tmp_path, settle=2).look(NOON)) == ["sub/a"]
