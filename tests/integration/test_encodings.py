"""Tokens of OpenAI's models, counted with OpenAI's own encodings, as its servers count them."""

import asyncio
import shutil

import pytest

from enginehouse.core.measuring import ModelRuler
from enginehouse.engines.encodings import FILES, Encodings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Deployment, EngineName, Kind, Model
from enginehouse.types.generation import Generation, Role, Text, Turn
from tests.integration.service import CACHE, real_sources

WHEEL = "pypi:litellm==1.55.0/litellm/litellm_core_utils/tokenizers"
"""A package that carries the files as they are."""

COOKBOOK = [
    ("", "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
    ("example_user", "New synergies will help drive top-line growth."),
    ("example_assistant", "Things working well together will increase revenue."),
    (
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("example_assistant", "Let's talk later when we're less busy about how to do better."),
]
"""The example with which OpenAI shows how its servers count, up to the question."""
ASKED = "This late pivot means we don't have time to boil the ocean for the client deliverable."


def turn(role, text, name=""):
    return Turn(role=role, parts=(Text(text=text),), name=name)


@pytest.fixture(scope="module")
def encodings(tmp_path_factory):
    """As on a machine where `tiktoken` has been used."""
    folder = tmp_path_factory.mktemp("encodings")
    found = Encodings({"TIKTOKEN_CACHE_DIR": str(folder)})
    for name, digest in FILES.items():
        artifacts = Artifacts(CACHE / "artifacts", real_sources())
        shutil.copy(asyncio.run(artifacts.fetch(f"{WHEEL}/{found.file(name).name}", digest)), found.file(name))
    with pytest.MonkeyPatch.context() as environ:  # `tiktoken` reads that of its process
        environ.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield found


def ruler(encodings, name):
    place = Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.OPENAI, upstream_model=name)
    model = Model(id="m", kind=Kind.CHAT, deployments=(place,))
    return ModelRuler("m", model, None, None, encodings, "r")


@pytest.mark.parametrize(
    ("model", "encoding", "tokens"), [("gpt-4-0613", "cl100k_base", 129), ("gpt-4o", "o200k_base", 124)]
)
async def test_a_prompt_has_the_tokens_that_openai_counts(encodings, model, encoding, tokens):
    turns = (*(turn(Role.SYSTEM, text, name) for name, text in COOKBOOK), turn(Role.USER, ASKED))
    measures = ruler(encodings, model)
    count = await measures.prompt(Generation(model="m", turns=turns), 10_000)
    assert (count.tokens, count.exact, measures.tokenizer) == (tokens, True, encoding)
    assert (await measures.text(turns[1])).tokens < 15


async def test_a_file_that_is_missing_or_another_one_counts_nothing(encodings, tmp_path):
    empty = Encodings({"TIKTOKEN_CACHE_DIR": str(tmp_path)})
    assert await empty.of("gpt-4o") is None
    wrong = Encodings({"TIKTOKEN_CACHE_DIR": str(tmp_path)})
    wrong.file("o200k_base").write_bytes(encodings.file("cl100k_base").read_bytes())
    assert await wrong.of("gpt-4o") is None
    assert await encodings.of("a-model-of-nobody") is None
    guess = await ruler(empty, "gpt-4o").prompt(Generation(model="m", turns=(turn(Role.USER, ASKED),)), 10_000)
    assert not guess.exact
