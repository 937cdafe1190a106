"""The provider that `docs/llm-integration.md` shows: its package, as the page has it, behind a running service."""

import ast
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from enginehouse.engines.base import Counts, Embeds, Forwards, Generates, Lists
from enginehouse.types import Deployment, EngineName, Kind
from tests.integration import test_matrix as matrix
from tests.integration.faces import FACES
from tests.integration.service import Service
from tests.integration.upstream import TOKENS, Upstream

PAGE = Path(__file__).parents[2] / "docs" / "llm-integration.md"
CELLS = [
    (face, job, stream)
    for face, job, stream in itertools.product(FACES, matrix.JOBS, (False, True))
    if job not in FACES[face].cannot
]


def blocks():
    """The page's code, in order: the module, its package's metadata, the settings and its row in the contract."""
    section = PAGE.read_text(encoding="utf-8").partition("## Adding a provider")[2]
    found = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in found] == ["python", "toml", "yaml", "python"]
    return [code for _, code in found]


MODULE, METADATA, SETTINGS, ROW = blocks()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder of packages with the provider in it, as an installer leaves them."""
    folder = tmp_path_factory.mktemp("packages")
    project = tomllib.loads(METADATA)["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (info / "METADATA").write_text("".join(f"{name}: {value}\n" for name, value in head.items()))
    with (info / "entry_points.txt").open("w") as points:
        for group, named in project["entry-points"].items():
            points.write(f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in named.items()))
    (folder / "acme_provider.py").write_text(MODULE)
    return folder


@pytest.fixture(scope="module")
def beside_us(installed):
    """An environment in which it is installed."""
    return {"PYTHONPATH": os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, beside_us, tmp_path_factory):
    """The page's settings, at the address that its row names."""
    folder = tmp_path_factory.mktemp("provider")
    address = upstream.url + ast.literal_eval(f"{{{ROW}}}")["acme"]
    models = yaml.safe_load(SETTINGS)["models"]
    models = {id_: {**model, "base_url": address, "upstream_model": "theirs"} for id_, model in models.items()}
    config = {"default_models": False, "data_dir": str(folder), "models": models, "routing": {"retries": 0}}
    with Service(folder, config, environ={**beside_us, "ACME_KEY": "a key of Acme's"}) as running:
        yield running


@pytest.fixture(scope="module")
def faces(house):
    faces = {name: face(house.url) for name, face in FACES.items()}
    yield faces
    for face in faces.values():
        face.close()


@pytest.mark.parametrize(("face", "job", "stream"), CELLS)
def test_cell(house, upstream, faces, face, job, stream):
    """Its row in the contract suite."""
    matrix.shows(house, upstream, faces[face], "acme-large", job, stream=stream)


def test_its_vectors_reach_every_face_that_asks_for_some(house):
    texts = ["one", "three"]
    asked = {"model": "acme-vectors", "input": texts}
    status, openai, _ = house.call("/v1/embeddings", asked)
    assert status == 200, openai
    assert [one["embedding"] for one in openai["data"]] == [[1.0, 3.0], [1.0, 5.0]]
    assert openai["usage"]["prompt_tokens"] == TOKENS[0]
    assert house.call("/api/embed", asked)[1]["embeddings"] == [[1.0, 3.0], [1.0, 5.0]]


def test_it_is_named_where_models_are_listed(house):
    listed = {model["id"]: model for model in house.call("/v1/models")[1]["data"]}
    assert {listed[name]["provider"] for name in ("acme-large", "acme-vectors")} == {"acme"}


def test_its_health_is_asked_of_its_own_list(house):
    house.call("/v1/embeddings", {"model": "acme-vectors", "input": "wake up"})
    health = house.call("/v1/health/models")[1]["models"]["acme-vectors"]
    assert (health["status"], health["engine"]) == ("healthy", "acme")


async def test_it_has_the_abilities_that_the_page_says(installed, upstream):
    spec = importlib.util.spec_from_file_location("acme_provider", installed / "acme_provider.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    address = f"{upstream.url}/well/acme"
    deployment = Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.OPENAI, base_url=address)
    async with module.Acme(deployment, 5.0) as engine:
        assert all(isinstance(engine, ability) for ability in (Generates, Embeds, Lists))
        assert not isinstance(engine, Forwards | Counts)
        assert await engine.models() == ["theirs"]
        assert not await engine.healthy()  # it has no model "m"


def test_its_name_is_one_of_an_engine_only_where_it_is_installed(beside_us, tmp_path):
    config = tmp_path / "enginehouse.yaml"
    config.write_text(SETTINGS)

    def check(environ):
        command = [sys.executable, "-m", "enginehouse", "config", "check", str(config)]
        environ = {**os.environ, "ACME_KEY": "k", **environ}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    assert check(beside_us)[0] == 0
    code, said = check({})
    assert code != 0
    assert "models.acme-large.engine" in said
