"""Every client in front, every provider behind: one contract for all faces over all engines."""

import hashlib
import itertools
import json
import time

import pytest

from tests.integration.faces import FACES, PICTURE, SCHEMA, Leaving, Refused
from tests.integration.service import Service
from tests.integration.upstream import TOKENS, Upstream

ENGINES = {
    "openai": "/well/v1",
    "anthropic": "/well",
    "ollama": "/well/api",
}
"""By name, where the scripted server speaks its dialect."""
JOBS = ("text", "tools", "parallel", "image", "schema", "stop", "error", "leave")
CELLS = list(itertools.product(FACES, ENGINES, JOBS, (False, True)))
SAID = [cell for cell in CELLS if cell[2] not in FACES[cell[0]].cannot]
_numbers = itertools.count()


def config(upstream):
    models = {
        engine: {"engine": engine, "base_url": upstream.url + path, "upstream_model": "theirs"}
        for engine, path in ENGINES.items()
    }
    return {"default_models": False, "models": models, "routing": {"retries": 0}}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    with Service(folder, {**config(upstream), "data_dir": str(folder)}) as running:
        yield running


@pytest.fixture(scope="module")
def faces(house):
    faces = {name: face(house.url) for name, face in FACES.items()}
    yield faces
    for face in faces.values():
        face.close()


def expected(face, engine, job, text):
    """Words, calls and the reason for the end. Of the engines only Anthropic tells that a stop sequence was one."""
    cologne, tokyo = ("weather", {"city": "Köln"}), ("weather", {"city": "東京"})
    match job:
        case "tools":
            return "", (cologne,), face.called
        case "parallel":
            return "Both.", (cologne, tokyo), face.called
        case "image":
            return hashlib.sha256(PICTURE).hexdigest()[:8], (), face.plain
        case "schema":
            return json.dumps({"keys": sorted(SCHEMA["properties"])}), (), face.plain
        case "stop":
            return "one two ", (), face.stopped if engine == "anthropic" else face.plain
        case _:
            return f"Grüße, 世界: {text}", (), face.plain


def number(cell):
    return "-".join([*cell[:3], "stream" if cell[3] else "whole"])


@pytest.mark.parametrize(("face", "engine", "job", "stream"), SAID, ids=map(number, SAID))
def test_cell(house, upstream, faces, face, engine, job, stream):
    shows(house, upstream, faces[face], engine, job, stream=stream)


def shows(house, upstream, face, engine, job, *, stream):
    """One face gets from the model of one engine's name what it asks for."""
    text = f"{job} {next(_numbers)}"
    if job == "leave":
        leaves(house, upstream, face, engine, text, stream=stream)
    elif job == "error":
        with pytest.raises(Refused) as caught:
            face.ask(engine, job, text, stream=stream)
        assert (caught.value.status, caught.value.message) == (400, "You asked for it.")
    else:
        told = face.ask(engine, job, text, stream=stream)
        words, calls, reason = expected(face, engine, job, text)
        if job == "schema":
            told = told._replace(text=json.dumps(json.loads(told.text)))
        assert told[:2] == (words, calls)
        assert (told.reason, told.tokens) == (reason, TOKENS)


def leaves(house, upstream, face, engine, text, *, stream):
    """The upstream sees within a second that the caller has gone."""
    with Leaving(house.port, face, engine, text, stream=stream) as caller:
        if stream:
            caller.read_until(b"word")
        house.wait_until(lambda: text in upstream.asked, 10)
    left = time.monotonic()
    house.wait_until(lambda: text in upstream.left, 10)
    assert upstream.left[text] - left < 1


def test_what_a_dialect_cannot_say_is_a_short_list():
    unsaid = {(name, job) for name, face in FACES.items() for job in face.cannot}
    assert unsaid == {
        *(("Completions", job) for job in ("tools", "parallel", "image", "schema")),
        *(("OllamaGenerate", job) for job in ("tools", "parallel")),
    }
    assert len(SAID) == len(CELLS) - len(unsaid) * len(ENGINES) * 2
