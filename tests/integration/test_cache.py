"""The cache in a real service, over a server that counts who asks it."""

import json
import urllib.request

import pytest

from tests.integration.faces import FACES
from tests.integration.service import Service
from tests.integration.upstream import Upstream


def config(upstream, **cache):
    paths = {"openai": "/v1", "anthropic": "", "ollama": "/api"}
    models = {
        f"well-{engine}": {"engine": engine, "base_url": f"{upstream.url}/well{path}", "upstream_model": "theirs"}
        for engine, path in paths.items()
    }
    return {"default_models": False, "models": models, "cache": {"enabled": True, **cache}}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with Service(folder, {**config(upstream), "data_dir": str(folder)}) as running:
        yield running


def post(url, body, **headers):
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize("engine", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize("name", FACES)
def test_every_face_is_told_the_same_again_as_stream_and_as_body(house, name, engine, upstream):
    face = FACES[name](house.url)
    try:
        for first in (True, False):
            text = f"cached {name} {engine} {first}"
            upstream.heard[text].set()
            told, times = [], set()
            for stream in (first, not first, first):
                told.append(face.ask(f"well-{engine}", "text", text, stream=stream, heard=lambda: None).text)
                times.add(upstream.asked[text])
            assert len(set(told)) == len(times) == 1
            assert text in told[0]
    finally:
        face.close()
