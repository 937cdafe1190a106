"""Whatever becomes of requests, the ledger, the budgets and the limits say exactly what was passed on.

Many requests at once, in simulated time, over fake upstreams that write a token a frame: callers leave in every
phase, engines crash, refuse and come back, and the database goes away in between.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import StaticPool, create_engine, func, select

from enginehouse.core.gateway import patience
from enginehouse.core.gateway.spending import Spending
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.budgets import Budgets
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import PICODOLLARS
from enginehouse.core.limits import Limits
from enginehouse.core.limits.rules import Rules
from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.engines.base import Embedding
from enginehouse.errors import BudgetSpent, EnginehouseError, StoreUnavailable, UpstreamDied
from enginehouse.settings.schema import BudgetSettings, LimitSettings, PriceSettings
from enginehouse.stores.kv import Asked, MemoryTallies, Window
from enginehouse.stores.sql.budgets import RESERVATIONS
from enginehouse.stores.sql.metadata import METADATA
from enginehouse.stores.sql.sums import sums
from enginehouse.stores.sql.usage import RECORDS
from enginehouse.testing import FakeLauncher, FakeSpool, simulate
from enginehouse.testing.engines import FakeReply
from enginehouse.types import EngineName, Operation, Principal, Usage
from enginehouse.types.answer import Counted, Finish, Finished, TextDelta
from enginehouse.types.generation import Dialect
from tests.unit.core.way import open_gateway, request, wording

CHAT = "/v1/chat/completions"
PROMPT = 2
DOLLARS = {"far": "1", "near": "3", "vec": "1"}
"""For a thousand tokens: what answers in the stead of another one is dearer."""
MODELS = {
    "far": {"base_url": "http://127.0.0.1:9", "slots": 3, "fallbacks": ["near"]},
    "near": {"source": "/x.gguf", "engine": "llama_server", "kind": "chat", "slots": 2},
    "vec": {"source": "/y", "engine": "onnx", "kind": "embedding", "slots": 2},
}
STREAMS = {"stream", "told", "events"}


class Plan(msgspec.Struct, frozen=True):
    """What an upstream does with one call."""

    tokens: int
    pause: float
    """Seconds before each token."""
    fate: str
    """`well`; `refuses` at once; `dies` or `crashes`, with the process that it runs in, before the token `at`."""
    at: int = 0
    counts: bool = True
    """Whether it says how many tokens that were."""


class Call(msgspec.Struct, frozen=True):
    """One request and its caller."""

    kind: str
    user: str
    model: str
    comes: float
    leaves: float | None
    patience: float | None
    tokens: int
    pause: float
    counts: bool
    fates: tuple[tuple[str, int], ...]
    """Of its first tries; all further ones go well."""

    def plan(self, number):
        fate, at = self.fates[number] if number < len(self.fates) else ("well", 0)
        return Plan(self.tokens, self.pause, fate, min(at, self.tokens), self.counts)


class Upstream:
    """Satisfies `Forwards`, `Generates` and `Embeds`; `written` are the tokens of each request's last call."""

    dialects = frozenset({Dialect.OPENAI_CHAT})

    def __init__(self, calls):
        self.calls, self.written, self._tries = calls, {}, {}
        self.crash = lambda: None

    async def healthy(self):
        return True

    def forward(self, call):
        return _Context(self._reply(self._plan(call.request_id), call))

    def generate(self, generation, *, request_id):
        return _Context(self._events(self._plan(request_id), request_id))

    async def embed(self, texts):
        await asyncio.sleep(len(texts[0]))
        return Embedding(vectors=[[1.0]], tokens=len(texts[0]) // 4 + 1)

    def _plan(self, name):
        self.written[name] = 0
        self._tries[name] = number = self._tries.get(name, -1) + 1
        return self.calls[name].plan(number)

    def _reply(self, plan, call):
        if plan.fate == "refuses":
            return FakeReply([b"{}"], 503)
        reply = FakeReply((), stream=call.stream)
        reply.frames = lambda: self._frames(plan, call.request_id)
        reply.read = lambda: self._body(plan, call.request_id)
        return reply

    async def _tokens(self, plan):
        for number in range(plan.tokens + 1):
            await asyncio.sleep(plan.pause)
            if plan.fate in {"dies", "crashes"} and number >= plan.at:
                if plan.fate == "crashes":
                    self.crash()
                raise UpstreamDied("It is gone.")
            if number < plan.tokens:
                yield number

    async def _frames(self, plan, name):
        async for _ in self._tokens(plan):
            self.written[name] += 1
            yield _frame({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]})
        yield _frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if plan.counts:
            yield _frame({"choices": [], "usage": _usage(plan)})
        yield b"data: [DONE]\n\n"

    async def _body(self, plan, name):
        async for _ in self._tokens(plan):
            pass
        self.written[name] = plan.tokens
        choices = [{"index": 0, "message": {"content": "x" * plan.tokens}, "finish_reason": "stop"}]
        return msgspec.json.encode({"choices": choices, "usage": _usage(plan)})

    async def _events(self, plan, name):
        if plan.fate == "refuses":
            raise UpstreamDied("It refuses.")
        async for _ in self._tokens(plan):
            self.written[name] += 1
            yield TextDelta(text="x")
        yield Finished(reason=Finish.STOP)
        if plan.counts:
            yield Counted(usage=Usage(input=PROMPT, output=plan.tokens))


class _Context:
    def __init__(self, thing):
        self.thing = thing

    async def __aenter__(self):
        return self.thing

    async def __aexit__(self, *_):
        """Nothing is held."""


def _frame(content):
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def _usage(plan):
    return {"prompt_tokens": PROMPT, "completion_tokens": plan.tokens, "total_tokens": PROMPT + plan.tokens}


class Books:
    """A database in memory, without threads; it goes away and breaks as it is told."""

    def __init__(self, fates=()):
        self.engine = create_engine("sqlite://", poolclass=StaticPool)
        METADATA.create_all(self.engine)
        self.fates, self._numbers = fates, count()

    async def write(self, work):
        number = next(self._numbers)
        fate = self.fates[number] if number < len(self.fates) else "ok"
        await asyncio.sleep(0)
        if fate == "away":
            raise StoreUnavailable("away")
        with self.engine.begin() as connection:
            result = work(connection)
        await asyncio.sleep(0)
        if fate == "unknown":
            raise StoreUnavailable("The connection broke in the commit.")
        return result

    def all(self, statement):
        with self.engine.connect() as connection:
            return list(connection.execute(statement).mappings())

    def one(self, column, *where):
        with self.engine.connect() as connection:
            return connection.execute(select(func.coalesce(func.sum(column), 0)).where(*where)).scalar_one()


class House:
    """All rooms that count, over one fake upstream; `ended` is how each caller saw its request end."""

    def __init__(self, calls, *, fates=(), ahead=False, dollars="0.5", rates="10000/hour, 300 tokens/hour"):
        self.calls = {f"r{number}": call for number, call in enumerate(calls)}
        self.upstream, self.books = Upstream(self.calls), Books(fates)
        self.limit = int(float(dollars) * PICODOLLARS)
        self.settings = LimitSettings.model_validate({"tiers": {"gold": rates}})
        self.budget = BudgetSettings(scope="user", period="total", dollars=dollars)
        self.unchecked = bool(fates)
        """Whether budgets may have been out of reach, so that nobody was refused."""
        self.ahead = ahead
        """Whether records are in a journal before they are in the books."""
        self.ended, self.passed = {}, {}

    async def run(self):
        loop = asyncio.get_running_loop()
        self.tallies = MemoryTallies(lambda: int(loop.time() * 1_000_000))
        self.limits = Limits(self.settings, self.tallies)
        prices = Prices({m: PriceSettings(input_per_1k=d, output_per_1k=d) for m, d in DOLLARS.items()})
        ledger = Ledger(SqlBooks(self.books), FakeSpool(), prices, ahead=self.ahead)
        self.budgets = Budgets(self.books, [self.budget], caught_up=ledger.caught_up, clock=loop.time)
        launchers = {
            name: FakeLauncher(self.upstream, load_seconds=0.5)
            for name in (EngineName.OPENAI, EngineName.LLAMA_SERVER, EngineName.ONNX)
        }
        self.upstream.crash = lambda: _crash(launchers[EngineName.LLAMA_SERVER])
        spending = Spending(self.budgets)
        async with open_gateway(MODELS, launchers, ledger=ledger, spending=spending) as gateway:
            async with asyncio.TaskGroup() as callers:
                for name, call in self.calls.items():
                    callers.create_task(self._caller(gateway, name, call))
            await asyncio.sleep(60)  # what waited on the disk is carried over
            self.books.fates = ()
            await self._settled()

    async def _caller(self, gateway, name, call):
        await asyncio.sleep(call.comes)
        work = asyncio.ensure_future(self._call(gateway, name, call))
        await asyncio.wait({work}, timeout=call.leaves)
        work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            self.ended.setdefault(name, ("cancelled", "caller_gone"))
        except EnginehouseError as error:
            self.ended.setdefault(name, ("failed", error.code))
        else:
            self.ended[name] = ("completed", "")

    async def _call(self, gateway, name, call):
        principal = Principal(user=call.user, tier="gold")
        async with AsyncExitStack() as stack:
            try:
                grant = await stack.enter_async_context(self.limits.admit(principal, CHAT))
            except EnginehouseError:
                self.ended[name] = None  # it never came to the gateway
                raise
            asked = request(
                _body(call), model=call.model, principal=principal, grant=grant,
                stream=call.kind in STREAMS, timeout=call.patience,
            )  # fmt: skip
            asked = msgspec.structs.replace(asked, request_id=name)
            if call.kind == "embed":
                asked = msgspec.structs.replace(asked, operation=Operation.EMBEDDING)
            limit = await stack.enter_async_context(patience(asked))
            await self._answer(stack, gateway, asked, call, limit)

    async def _answer(self, stack, gateway, asked, call, limit):
        if call.kind == "embed":
            await gateway.embed(asked, ["x" * call.tokens])
            return
        if call.kind == "events":
            generation = OpenAIChat().read_request(asked.body).generation
            answering = await stack.enter_async_context(gateway.events(asked, generation))
        else:
            answering = await stack.enter_async_context(gateway.frames(asked, _words(asked.body, call)))
        limit.reschedule(None)
        async for piece in answering.pieces:
            self.passed[asked.request_id] = self.passed.get(asked.request_id, 0) + _tokens(piece)
            await asyncio.sleep(call.pause / 2)

    async def _settled(self):
        records = self.books.all(select(RECORDS))
        assert sorted(one["request_id"] for one in records) == sorted(n for n in self.calls if self.ended[n])
        for one in records:
            self._check(one)
        self._check_sums(records)
        for user in ("ann", "bob"):
            mine = [one for one in records if one["user_id"] == user]
            await self._check_budget(user, sum(one["cost"] for one in mine))
            await self._check_limit(user, sum(one["input_tokens"] + one["output_tokens"] for one in mine))

    def _check(self, record):
        name = record["request_id"]
        call, seen = self.calls[name], (record["outcome"], record["error"])
        assert seen == self.ended[name] or self._was_over(call, seen, self.ended[name])
        if call.kind == "embed":
            return
        assert record["output_tokens"] == self.upstream.written.get(name, 0)
        if call.kind in STREAMS:
            assert record["output_tokens"] == self.passed.get(name, 0)
        if record["outcome"] == "completed":
            assert record["output_tokens"] == call.tokens
            assert record["estimated"] == (not call.counts and call.kind in {*STREAMS, "told whole"})

    def _was_over(self, call, seen, ended):
        """Who leaves while the record of an end is made durable has left after it."""
        over = seen == ("completed", "") or (seen == ("failed", "upstream_died") and bool(call.fates))
        return ended[0] == "cancelled" and over

    def _check_sums(self, records):
        total = sum(self.upstream.written.values())
        assert sum(one["output_tokens"] for one in records) == total
        with self.books.engine.connect() as connection:
            whole = sums(connection, start=0, end=1 << 40, user="", dimension="total", by="value")
        assert sum(row["output_tokens"] for row in whole) == total
        assert sum(row["requests"] for row in whole) == len(records)

    async def _check_budget(self, user, cost):
        """Nothing is held any more, and exactly what is left may be spent."""
        assert self.books.one(RESERVATIONS.c.amount) == 0
        accounts = self.budgets.accounts(Principal(user=user))
        left = self.limit - cost
        assert left >= 0 or self.unchecked
        if left > 0:
            await self.budgets.reserve(Holder("all that is left"), accounts, left)
        with pytest.raises(BudgetSpent):
            await self.budgets.reserve(Holder("one more"), accounts, 1)
        with self.books.engine.begin() as connection:
            connection.execute(RESERVATIONS.delete())

    async def _check_limit(self, user, tokens):
        rules = Rules(self.settings).of(Principal(user=user, tier="gold"), CHAT)
        rule = next(rule for rule in rules if rule.what == "tokens")
        window = Window(key=rule.key, seconds=rule.seconds, limit=rule.count, need=0, take=0)
        taken = await self.tallies.take(Asked(id="last", windows=(window,)))
        assert taken.windows[0].used == tokens


def _crash(launcher):
    for name in launcher.resident:
        launcher.watchers[name].ended("crashed")


class Holder:
    reserved = False

    def __init__(self, name):
        self.id = name


def _body(call):
    turns = [{"role": "user", "content": "x" * PROMPT * 4}]
    return msgspec.json.encode(
        {"model": call.model, "messages": turns, "max_tokens": call.tokens, "stream": call.kind in STREAMS}
    )


def _words(body, call):
    if call.kind.startswith("told"):
        return wording(body, call.model, codec=AnthropicMessages(), dialect=Dialect.ANTHROPIC_MESSAGES)
    return wording(body, call.model, wants_usage=False)


def _tokens(piece):
    if isinstance(piece, bytes):
        return piece.count(b'"content":"x"') + piece.count(b'"text_delta"')
    return isinstance(piece, TextDelta)


FATES = st.tuples(st.sampled_from(["refuses", "dies", "dies", "crashes"]), st.integers(0, 6))
CALLS = st.builds(
    Call,
    kind=st.sampled_from(["stream", "whole", "told", "told whole", "events", "embed"]),
    user=st.sampled_from(["ann", "bob"]),
    model=st.sampled_from(["far", "near"]),
    comes=st.sampled_from([0.0, 0.0, 0.3, 1.0, 4.0]),
    leaves=st.none() | st.sampled_from([0.0, 0.1, 0.5, 0.55, 0.7, 1.0, 1.5, 3.0]),
    patience=st.none() | st.none() | st.sampled_from([0.2, 0.6, 1.2, 2.5]),
    tokens=st.integers(1, 12),
    pause=st.sampled_from([0.0, 0.05, 0.3]),
    counts=st.booleans(),
    fates=st.lists(FATES, max_size=3).map(tuple),
).map(lambda call: msgspec.structs.replace(call, model="vec") if call.kind == "embed" else call)


@settings(max_examples=int(os.environ.get("EXAMPLES", "40")))
@given(
    calls=st.lists(CALLS, min_size=1, max_size=14),
    fates=st.just(()) | st.lists(st.sampled_from(["ok", "away", "unknown"]), max_size=12),
    ahead=st.booleans(),
    dollars=st.sampled_from(["0.02", "0.1", "10"]),
)
def test_the_ledger_the_budgets_and_the_limits_say_what_was_passed_on(calls, fates, ahead, dollars):
    simulate(House(calls, fates=fates, ahead=ahead, dollars=dollars).run())


def one(kind, **changes):
    """Of one request, and nobody limits it."""
    plain = {
        "user": "ann",
        "model": "far",
        "comes": 0.0,
        "leaves": None,
        "patience": None,
        "pause": 0.1,
        "tokens": 4,
    }
    call = Call(**{**plain, "kind": kind, "counts": True, "fates": (), **changes})
    house = House([call])
    simulate(house.run())
    return house.books.all(select(RECORDS))[0]


@pytest.mark.parametrize("kind", ["stream", "told", "events"])
def test_who_leaves_a_stream_pays_for_what_was_passed_on(kind):
    record = one(kind, leaves=0.95)
    assert (record["outcome"], record["error"], record["estimated"]) == ("cancelled", "caller_gone", True)
    assert 0 < record["output_tokens"] < 4


@pytest.mark.parametrize("kind", ["stream", "told", "events", "whole", "told whole", "embed"])
def test_who_is_out_of_patience_has_not_left(kind):
    model = "vec" if kind == "embed" else "far"
    assert (one(kind, model=model, patience=0.2)["error"], one(kind, model=model, patience=0.55)["error"]) == (
        "load_timeout",
        "upstream_timeout",
    )


@pytest.mark.parametrize("kind", ["stream", "told", "events", "whole", "told whole"])
def test_what_was_only_refused_costs_nothing(kind):
    record = one(kind, fates=(("refuses", 0),) * 9)
    assert (record["outcome"], record["input_tokens"], record["output_tokens"], record["cost"]) == (
        "failed",
        0,
        0,
        0,
    )


def test_vectors_that_were_not_waited_for_are_estimated():
    record = one("embed", model="vec", tokens=40, leaves=5)
    assert (record["outcome"], record["input_tokens"], record["estimated"]) == ("cancelled", 11, True)


def test_so_many_run_at_once_as_the_budget_may_pay():
    """A request may cost six tokens, a tenth of a cent each."""
    calls = [Call("stream", "ann", "far", 0.0, None, None, 4, 0.1, True, ()) for _ in range(20)]
    house = House(calls, dollars="0.03")
    simulate(house.run())
    assert [code for _, code in house.ended.values()].count("insufficient_quota") == 15
