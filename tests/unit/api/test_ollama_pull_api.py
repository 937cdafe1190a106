"""`POST /api/pull` over a store that fetches as it is told."""

import asyncio
import json

import pytest

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.ollama_pull import ollama_pull_router
from enginehouse.core.catalogue import Catalogue
from enginehouse.errors import SourceError
from enginehouse.settings.schema import ServerSettings
from enginehouse.testing import Caller, simulate
from enginehouse.types import EngineName, Principal
from tests.unit.api.house import model
from tests.unit.api.test_limited_keys import Known

ADMIN = Principal(user="root", role="admin")


class Store:
    """Fetches ten bytes, slowly, or fails."""

    def __init__(self, failure=None):
        self.failure = failure

    async def fetch(self, source, sha256, progress):
        progress.started("a.gguf", 10, 2)
        progress.waiting("a.gguf", "the host is busy")
        await asyncio.sleep(1)
        progress.advanced("a.gguf", 3)
        await asyncio.sleep(1)
        if self.failure:
            raise self.failure
        progress.advanced("a.gguf", 5)
        progress.finished("a.gguf")
        return "/a.gguf"


def pulled(body, principal=ADMIN, failure=None):
    """Status and lines."""
    catalogue = Catalogue([model("near", source="a.gguf"), model("other", engine=EngineName.OPENAI)])
    rest = framework_app([ollama_pull_router(catalogue, Store(failure))], {})
    door = FrontDoor({}, rest, Known(principal), ServerSettings())
    answer = simulate(Caller(door, "POST", "/api/pull", body).run())
    return answer.status, [json.loads(line) for line in answer.body.splitlines()]


def test_a_stream_tells_how_far_it_is():
    status, lines = pulled({"model": "near"})
    assert (status, lines[0], lines[-1]) == (200, {"status": "pulling manifest"}, {"status": "success"})
    layer = {"status": "pulling a.gguf", "digest": "a.gguf", "total": 10}
    assert [line for line in lines if "digest" in line] == [{**layer, "completed": n} for n in (2, 5, 10)]
    assert {"status": "the host is busy"} in lines


def test_who_wants_no_stream_hears_the_end():
    assert pulled({"name": "near-alias", "stream": False}) == (200, [{"status": "success"}])


def test_a_failure_within_is_a_line_and_never_a_success():
    status, lines = pulled({"model": "near"}, failure=SourceError("No space."))
    assert (status, lines[-1]) == (200, {"error": "No space."})
    assert pulled({"model": "near", "stream": False}, failure=SourceError("No space."))[0] == 503


@pytest.mark.parametrize(
    ("body", "principal", "status"),
    [
        ({}, ADMIN, 400),
        ({"model": "nobody"}, ADMIN, 404),
        ({"model": "other", "stream": False}, ADMIN, 400),
        ({"model": "near"}, Principal(user="eve"), 403),
    ],
)
def test_what_cannot_be_pulled_is_refused(body, principal, status):
    assert pulled(body, principal)[0] == status
