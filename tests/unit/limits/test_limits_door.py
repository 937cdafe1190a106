"""Limits at the front door: what callers get, and that a request holds its seat until its answer has ended."""

import asyncio

import pytest

from enginehouse.api.dispatch import FrontDoor
from enginehouse.core.identity import LOCAL
from enginehouse.core.limits import Limits
from enginehouse.errors import StoreUnavailable
from enginehouse.settings.schema import LimitSettings, ServerSettings
from enginehouse.stores.kv import MemoryTallies
from enginehouse.testing import Caller, simulate
from enginehouse.types import Principal
from tests.unit.api.house import open_door

CHAT, PREDICT, LIST = "/v1/chat/completions", "/predict", "/v1/models"
ANN = Principal(user="ann", tier="gold")


class Known:
    """An identity that everybody has."""

    open = False

    def __init__(self, principal):
        self._principal = principal

    async def principal(self, *_):
        return self._principal


class House:
    """A door with one hot route and a framework; an answer waits for `gate` when there is one."""

    def __init__(self, principal=ANN, gate=None, **settings):
        self.gate, self.grants, self.tokens = gate, [], 0
        limits = Limits(LimitSettings.model_validate(settings), MemoryTallies())
        self.door = FrontDoor({CHAT: self.hot}, self.rest, Known(principal), ServerSettings(), limits=limits)

    async def hot(self, exchange):
        self.grants.append(exchange.grant)
        if self.gate is not None:
            await self.gate.wait()
        exchange.grant.spent(self.tokens)
        await exchange.respond(200, b"{}")

    async def rest(self, scope, receive, send):
        self.grants.append(scope["state"]["grant"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def __call__(self, path=CHAT, method="POST"):
        return await Caller(self.door, method, path).run()


@pytest.mark.parametrize("path", [CHAT, PREDICT])
async def test_of_two_hundred_at_once_a_hundred_pass(path):
    gate = asyncio.Event()
    house = House(gate=gate, tiers={"gold": "100/hour"})
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(house(path)) for _ in range(200)]
        await asyncio.sleep(0)
        gate.set()
    answers = [task.result() for task in tasks]
    assert [answer.status for answer in answers].count(200) == 100
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) == 100
    for answer in refused:
        assert 3600 <= int(answer.headers["retry-after"]) <= 3660
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    passed = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers if answer.status == 200]
    assert sorted(passed) == list(range(100))


async def test_a_refusal_has_the_face_s_own_shape():
    house = House(tiers={"gold": "1/hour"})
    await house()
    detail = (await house()).json()["error"]
    assert (detail["code"], "Try again in" in detail["message"]) == ("rate_limit_exceeded", True)
    body = (await house(PREDICT)).json()
    assert (body["status"], body["code"]) == ("error", "RATE_LIMIT_EXCEEDED")


async def test_questions_are_not_limited():
    house = House(tiers={"gold": "1/hour"})
    for path, method in ((LIST, "GET"), (CHAT, "GET"), ("/v1/keys", "POST"), (PREDICT, "OPTIONS")):
        answers = [await house(path, method) for _ in range(3)]
        assert not any(answer.status == 429 or "x-ratelimit-limit-requests" in answer.headers for answer in answers)


async def test_a_route_the_settings_name_is():
    house = House(tiers={"gold": "unlimited"})
    answers = [await house("/v1/vector/search") for _ in range(101)]
    assert [answer.status for answer in answers] == [200] * 100 + [429]


async def test_a_running_answer_holds_its_seat():
    gate = asyncio.Event()
    house = House(gate=gate, tiers={"gold": "1 at once"})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(house())
        await asyncio.sleep(0)
        assert (await house()).status == 429
        gate.set()
    assert running.result().status == 200
    assert (await house()).status == 200


async def test_a_caller_who_leaves_gives_its_seat_back():
    gate = asyncio.Event()
    house = House(gate=gate, tiers={"gold": "1 at once"})
    running = asyncio.get_running_loop().create_task(house())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.set()
    assert (await house()).status == 200


async def test_tokens_that_were_spent_count():
    house = House(tiers={"gold": "100 tokens/hour"})
    house.tokens = 100
    first, second = await house(), await house()
    assert (first.headers["x-ratelimit-remaining-tokens"], second.status) == ("100", 429)
    assert "100 tokens in 1h0m0s" in second.json()["error"]["message"]


async def test_who_has_no_limit_is_told_of_none():
    answer = await House(LOCAL)()
    assert answer.status == 200
    assert not any(name.startswith("x-ratelimit") for name in answer.headers)


class Gone:
    up = False

    async def take(self, asked):
        raise StoreUnavailable("gone")


async def test_deny_answers_503():
    house = House()
    settings = LimitSettings(on_store_failure="deny")
    house.door._limits = Limits(settings, MemoryTallies(), Gone(), Gone())
    answer = await house()
    assert (answer.status, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/messages", "rate_limit_error"), (CHAT, "rate_limit_error"), ("/api/chat", None)]
)
def test_a_refusal_is_said_in_the_dialect_that_was_spoken(path, kind):
    async def main():
        async with open_door([b"{}"]) as door:
            door.app._limits = Limits(LimitSettings(requests=1, window=30), MemoryTallies())
            return [await door.post(path, b"{}") for _ in range(2)]

    first, second = simulate(main())
    assert (first.status, second.status) == (400, 429)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert second.headers["x-ratelimit-limit-requests"] == "1"
    assert 30 <= int(second.headers["retry-after"]) <= 31
    error = second.json()["error"]
    assert (error["type"] if kind else None) == kind
