"""One record a request, on success, failure and cancel."""

import asyncio
import time
from decimal import Decimal

import pytest

from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import dollars
from enginehouse.errors import CallerGone, LedgerUnavailable, UpstreamDied
from enginehouse.settings.schema import PriceSettings
from enginehouse.testing import FakeBooks, FakeSpool, simulate
from enginehouse.types import Principal, Usage
from tests.ledger_contract import record
from tests.ledger_requests import DEPLOYMENT, MODEL, request

PRICES = Prices({"m": PriceSettings(input_per_1k="1", output_per_1k="2", cached_input_per_1k="0.1")})
TOKENS = Usage(input=10, cached_input=20, output=3, reasoning=4)


def ran(entry, usage=TOKENS):
    entry.resolved(MODEL, DEPLOYMENT)
    entry.running()
    entry.usage = usage


def recorded(work, **books):
    """The one record that is there after this work with a ledger; what the work raises is swallowed."""

    async def main():
        kept = FakeBooks(**books)
        async with Ledger(kept, FakeSpool(), PRICES) as ledger:
            task = asyncio.ensure_future(work(ledger))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(kept.kept) == 1
        return next(iter(kept.kept.values()))

    return simulate(main())


def test_a_completed_request_is_recorded_with_all_that_is_known():
    async def work(ledger):
        asked = request(
            stream=True, principal=Principal(user="u", tier="basic", tenant="t", key="k", tags=("x", "y", "x"))
        )
        asked.timings.queue, asked.timings.load, asked.timings.ttft = 0.1, 0.2, 0.3
        async with ledger.record(asked, "openai") as entry:
            ran(entry)
            assert dollars(entry.so_far().cost) == Decimal("0.026")
            await entry.settled()

    one = recorded(work)
    assert (one.user_id, one.tier, one.tenant, one.key_id, one.tags) == ("u", "basic", "t", "k", ("x", "y"))
    assert (one.model, one.deployment, one.engine, one.face) == ("m", "m", "llama_server", "openai")
    assert (one.operation, one.stream, one.outcome, one.error) == ("chat", True, "completed", "")
    assert (one.input_tokens, one.cached_input_tokens, one.output_tokens, one.reasoning_tokens) == (10, 20, 3, 4)
    assert (one.input_cost, one.output_cost, one.cost) == (12 * 10**9, 14 * 10**9, 26 * 10**9)
    assert (one.queue_us, one.load_us, one.ttft_us) == (100_000, 200_000, 300_000)
    assert one.price is not None
    assert one.price.source == "settings"
    assert abs(one.time / 1e6 - time.time()) < 60


@pytest.mark.parametrize("ahead", [True, False])
def test_a_record_that_is_complete_needs_no_entry(ahead):
    """Durable at once where there is a journal; else there is something to wait for. Nobody else hears of it."""

    class Heard:
        def began(self, *_):
            raise AssertionError("told")

        ended = began

    async def main():
        books, spool = FakeBooks(), FakeSpool()
        async with Ledger(books, spool, PRICES, ahead=ahead, witness=Heard()) as ledger:
            one = record(cost=5)
            (waiting,) = ledger.note_now(one)
            assert (waiting is None) is ahead
            if waiting is not None:
                await asyncio.shield(waiting)
            assert len(spool.parts) + len(books.kept) == 1
        assert books.kept == {one.id: one}

    simulate(main())


def test_who_cannot_be_recorded_is_told_before_anything_is_generated():
    async def main():
        spool = FakeSpool(limit=100)
        async with Ledger(FakeBooks(lambda: "away"), spool, PRICES, ahead=True) as ledger:
            assert ledger.ready
            ledger.check()
            ledger.note_now(record())
            assert not ledger.ready
            with pytest.raises(LedgerUnavailable):
                ledger.check()

    simulate(main())


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (UpstreamDied("x"), "failed", "upstream_died"),
        (ValueError("x"), "failed", "internal_error"),
        (CallerGone("x"), "cancelled", "caller_gone"),
        (asyncio.CancelledError(), "cancelled", "caller_gone"),
        (GeneratorExit(), "cancelled", "caller_gone"),
    ],
)
def test_what_was_generated_before_an_end_is_recorded(error, outcome, code):
    async def work(ledger):
        async with ledger.record(request(), "openai") as entry:
            ran(entry)
            raise error

    one = recorded(work)
    assert (one.outcome, one.error, one.cost) == (outcome, code, 26 * 10**9)


@pytest.mark.parametrize(
    ("stopping", "gone", "seen"),
    [
        (True, False, ("failed", "shutting_down")),
        (True, True, ("cancelled", "caller_gone")),
        (False, False, ("cancelled", "caller_gone")),
    ],
)
def test_who_is_cut_off_by_a_shutdown_has_not_left(stopping, gone, seen):
    async def main():
        books, asked = FakeBooks(), request()
        asked.timings.gone = gone
        async with Ledger(books, FakeSpool(), PRICES, stopping=lambda: stopping) as ledger:
            task = asyncio.ensure_future(_endless(ledger, asked))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        [one] = books.kept.values()
        assert ((one.outcome, one.error), one.cost) == (seen, 26 * 10**9)

    simulate(main())


async def _endless(ledger, asked):
    async with ledger.record(asked, "openai") as entry:
        ran(entry)
        await asyncio.sleep(1000)


async def _failing(ledger, error):
    async with ledger.record(request(), "openai") as entry:
        ran(entry)
        raise error


@pytest.mark.parametrize("fate", ["ok", "away"])
@pytest.mark.parametrize("error", [UpstreamDied("x"), ValueError("x")])
def test_a_failure_is_durable_before_anybody_hears_of_it(fate, error):
    async def main():
        books, spool = FakeBooks(lambda: fate), FakeSpool()
        async with Ledger(books, spool, PRICES) as ledger:
            with pytest.raises(type(error)):
                await _failing(ledger, error)
            assert (len(books.kept), spool.backlog) == ((1, 0) if fate == "ok" else (0, 1))

    simulate(main())


def test_a_failure_that_can_be_kept_nowhere_is_told_as_what_it_was():
    async def main():
        spool = FakeSpool()
        spool.broken = True
        async with Ledger(FakeBooks(lambda: "away"), spool, PRICES) as ledger:
            with pytest.raises(UpstreamDied):
                await _failing(ledger, UpstreamDied("x"))
            assert ledger.stats().lost == 1

    simulate(main())


def test_a_caller_who_leaves_is_recorded_at_any_point():
    async def work(ledger):
        async with ledger.record(request(), "openai") as entry:
            ran(entry)
            await asyncio.sleep(1000)

    assert recorded(work).outcome == "cancelled"


def test_the_first_end_counts():
    async def work(ledger):
        async with ledger.record(request(), "openai") as entry:
            ran(entry)
            await entry.settled()
            await entry.settled()
            raise CallerGone("after the last token, before the last byte")

    assert recorded(work).outcome == "completed"


def test_a_request_without_an_explicit_end_is_durable_when_its_context_has_ended():
    async def main():
        books = FakeBooks()
        async with Ledger(books, FakeSpool(), PRICES) as ledger:
            async with ledger.record(request(), "openai") as entry:
                ran(entry)
            assert entry.id in books.kept

    simulate(main())


def test_two_requests_under_one_callers_id_are_two_records():
    async def main():
        books = FakeBooks()
        async with Ledger(books, FakeSpool(), PRICES) as ledger:
            for _ in range(2):
                async with ledger.record(request(request_id="same"), "openai") as entry:
                    ran(entry)
        assert len(books.kept) == 2

    simulate(main())


@pytest.mark.parametrize("cache", ["", "exact"])
def test_what_no_engine_did_costs_nothing(cache):
    async def work(ledger):
        async with ledger.record(request(), "openai") as entry:
            entry.resolved(MODEL, DEPLOYMENT)
            entry.cache = cache
            if cache:
                entry.running()
                entry.usage = TOKENS

    assert recorded(work).cost == 0


def test_counts_that_nobody_can_believe_are_bounded_and_marked():
    async def work(ledger):
        async with ledger.record(request(), "openai") as entry:
            ran(entry, Usage(input=10**30, output=-5))

    one = recorded(work)
    assert (one.input_tokens, one.output_tokens, one.estimated) == (10**9, 0, True)
    assert one.cost == 10**18


def test_nothing_begins_that_could_not_be_recorded():
    async def main():
        spool = FakeSpool(limit=200)
        async with Ledger(FakeBooks(lambda: "away"), spool, PRICES) as ledger:
            async with ledger.record(request(), "openai") as entry:
                ran(entry)
            assert ledger.stats().status == "unhealthy"
            with pytest.raises(LedgerUnavailable, match=r"ledger.spool_max_bytes"):
                async with ledger.record(request(), "openai"):
                    pytest.fail("it was let in")

    simulate(main())


def test_the_end_flushes_what_nobody_waited_for():
    async def main():
        books = FakeBooks()
        async with Ledger(books, FakeSpool(), PRICES) as ledger:
            entries = [ledger.record(request(), "openai") for _ in range(20)]
            for context in entries:
                entry = await context.__aenter__()
                entry.closed("cancelled")
            assert ledger.stats().waiting == 20
        assert len(books.kept) == 20

    simulate(main())


def test_it_says_how_it_is():
    async def main():
        fate = ["away"]
        async with Ledger(FakeBooks(lambda: fate[0]), FakeSpool(), PRICES) as ledger:
            assert ledger.stats().status == "healthy"
            async with ledger.record(request(), "openai") as entry:
                ran(entry)
            stats = ledger.stats()
            assert (stats.status, stats.spooled) == ("degraded", 1)
            assert stats.spool_bytes > 0
            fate[0] = "ok"
            await asyncio.sleep(10)
            assert (ledger.stats().status, ledger.stats().spooled) == ("healthy", 0)

    simulate(main())
