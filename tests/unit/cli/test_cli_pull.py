"""What `pull` brings, and what it says."""

import json

import pytest

from enginehouse.cli.pull import Wanted, run_pull, select
from enginehouse.core.catalogue import Catalogue
from enginehouse.errors import SourceError
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Deployment, EngineName, Kind, Model

HEX = "ab" * 32


def model(id_, *sources, sha256=None):
    deployments = [
        Deployment(
            id=f"{id_}-{n}", model=id_, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, source=source, sha256=sha256
        )
        for n, source in enumerate(sources)
    ]
    return Model(id=id_, kind=Kind.CHAT, deployments=tuple(deployments))


SHELF = Catalogue(
    [
        model("smollm2", "pypi:a==1/m.gguf", sha256=HEX),
        model("minilm", {"model.onnx": "pypi:b==1/model.onnx"}, {"model.onnx": "pypi:b==1/model.onnx"}),
        model("remote", None),
    ]
)


def test_without_names_all_models_that_have_files_once_each():
    assert select((), SHELF) == (
        Wanted(name="minilm", source={"model.onnx": "pypi:b==1/model.onnx"}),
        Wanted(name="smollm2", source="pypi:a==1/m.gguf", sha256=HEX),
    )


def test_models_by_name_and_no_name_twice():
    assert [w.name for w in select(("minilm", "smollm2", "minilm"), SHELF)] == ["minilm", "smollm2"]


@pytest.mark.parametrize("spec", ["hf:org/repo/m.gguf", "pypi:a==1/m.gguf"])
def test_a_bare_source_with_its_digest(spec):
    assert select((spec,), SHELF, HEX) == (Wanted(name=spec, source=spec, sha256=HEX),)


def test_a_path_that_exists(tmp_path):
    assert select((str(tmp_path),), SHELF) == (Wanted(name=str(tmp_path), source=str(tmp_path)),)


@pytest.mark.parametrize(
    ("names", "sha256", "says"),
    [
        (("smolm2",), None, "'smolm2' is no model and no source. Did you mean 'smollm2'?"),
        (("remote",), None, "has no files to fetch"),
        (("smollm2",), HEX, "has its digest in the settings"),
        ((), HEX, "give that source alone"),
        (("hf:o/r/a", "hf:o/r/b"), HEX, "give that source alone"),
    ],
)
def test_what_cannot_be_pulled(names, sha256, says):
    with pytest.raises(SourceError, match=says.replace("?", r"\?")):
        select(names, SHELF, sha256)


@pytest.fixture
def run(tmp_path, capsys):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x")
    catalogue = Catalogue([model("here", str(file)), model("gone", str(tmp_path / "gone.gguf"))])

    def pull(*names, **options):
        code = run_pull(names, catalogue, Artifacts(tmp_path / "artifacts", SourceSettings()), **options)
        return code, *capsys.readouterr()

    return pull


def test_paths_go_to_standard_output_and_errors_to_standard_error(run, tmp_path):
    assert run("gone", "here") == (
        1,
        f"here\t{tmp_path / 'm.gguf'}\n",
        f"gone: There is no file or folder {tmp_path / 'gone.gguf'}.\n",
    )


def test_json(run, tmp_path):
    code, out, errors = run(as_json=True)
    assert (code, errors) == (1, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "failed", "name": "gone", "error": f"There is no file or folder {tmp_path / 'gone.gguf'}."},
        {"event": "ready", "name": "here", "path": str(tmp_path / "m.gguf")},
    ]


def test_success_exits_0(run):
    assert run("here")[0] == 0


def test_a_wrong_name_exits_2(run):
    code, out, errors = run("her")
    assert (code, out) == (2, "")
    assert "no model and no source" in errors


def test_a_wrong_digest_exits_1(run, tmp_path):
    code, _, errors = run(str(tmp_path / "m.gguf"), sha256="0" * 64)
    assert code == 1
    assert "expected was 0000" in errors
    assert (tmp_path / "m.gguf").exists()
