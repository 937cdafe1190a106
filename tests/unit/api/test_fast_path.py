"""The fast path: what may take it; whatever becomes of a request, nothing of what it took is left behind."""

import asyncio
import gc
import json
import re
import weakref
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import enginehouse.api
from enginehouse.api.fast import SAYING_NOTHING, FastPath
from enginehouse.app.fast import ROUTES
from enginehouse.core.admission import Admission
from enginehouse.core.cache.answers import joined
from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.copies import Copies
from enginehouse.core.gateway import Guarding, Seats, Spending
from enginehouse.core.gateway.fast import Run, Tracks
from enginehouse.core.gateway.fast.stream import Said
from enginehouse.core.gateway.flows import head_of
from enginehouse.core.identity import Identity
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.limits import Limits
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.core.routes import Routes
from enginehouse.core.traces import Trace, Traces
from enginehouse.core.traces.link import linked
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.plain import PlainAnswer
from enginehouse.dialects.openai.repeating import Words
from enginehouse.errors import UpstreamDied
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import Settings
from enginehouse.stores.kv import MemoryAnswers, MemoryTallies
from enginehouse.testing import WHOLE, FakeBooks, FakeEngine, FakeLauncher, FakeSpool, simulate
from enginehouse.types import EngineName, Usage
from enginehouse.types.answer import Began, Counted, Finish, Finished, RefusalDelta, TextDelta, fold
from enginehouse.types.chunked import ENDING, chunk
from tests.unit.cache.made import cache_of

CHAT = "/v1/chat/completions"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.9}'
STREAM = BODY.replace(b"{", b'{"stream":true,', 1)
HEADERS = [(b"host", b"localhost"), (b"authorization", b"Bearer sesame"), (b"x-request-id", b"r")]
FRAMES = [
    b'data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"Good"}}]}\n\n',
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":" day"},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
SETTINGS = {
    "default_models": False,
    "server": {"max_body_bytes": 4096},
    "auth": {"api_keys": ["sesame"]},
    "limits": {"tiers": {"admin": "3/hour, 5000 tokens/hour, 2 at once"}},
    "models": {"m": {"base_url": "http://127.0.0.1:9", "slots": 2}},
}


class Call:
    """A request on no connection; `happened` is what became of it."""

    def __init__(self, body=BODY, headers=HEADERS, path=CHAT):
        self.path, self.headers, self.body = path, headers, body
        self.began = asyncio.get_running_loop().time()
        self.gone = self.refused = False
        self.told = self.task = self.kept = None
        self.ended = asyncio.Event()
        self.written = b""
        self.happened = []

    def hear(self, told):
        self.told = told

    def opening(self):
        return b"HTTP/1.1 200 OK\r\n"

    def write(self, data):
        self.written += data

    def full(self, told):
        pass

    def end(self):
        self.happened.append("ended")
        self.ended.set()

    def hand_over(self, **extra):
        if extra:
            self.happened.append(extra["tried"])
        else:
            self.refused = True
        self.ended.set()

    def adopt(self, task):
        self.task = task

    def fail(self):
        self.happened.append("failed")

    def leave(self):
        self.gone = True
        self.told()

    async def over(self):
        await self.ended.wait()
        if self.task is not None:
            await asyncio.wait([self.task])


class Alone(bytes):
    """What comes as a chunk of its own."""


class Answer:
    """What an engine says: pieces, pauses, and perhaps a flaw in the end."""

    headers: ClassVar = {"Content-Type": "text/event-stream"}

    def __init__(self, says, status, hear):
        self._says, self.status, self._hear = says, status, hear
        self.left = 0
        self.last_heard = 0.0
        self.coming = None

    async def whole(self):
        return b"".join([piece async for piece in self._pieces()])

    def then(self, told):
        self.coming = asyncio.ensure_future(self.whole())
        self.coming.add_done_callback(lambda coming: coming.cancelled() or told())

    def taken(self):
        return self.coming.result()

    async def over(self):
        async for piece in self._pieces():
            self.last_heard = asyncio.get_running_loop().time()
            if isinstance(piece, Alone):
                self._hear(chunk(piece), len(chunk(piece)) - len(piece) - len(ENDING))
            else:
                self._hear(piece, 0)

    async def _pieces(self):
        for said in self._says:
            if isinstance(said, Exception):
                raise said
            if isinstance(said, float):
                await asyncio.sleep(said)
            else:
                yield said

    def pause(self, full):
        pass

    def leave(self):
        self.left += 1
        self.last_heard = 0.0
        if self.coming is not None:
            self.coming.cancel()

    done = leave


class Engine(FakeEngine):
    """One that can be asked at once."""

    def __init__(self, says, status=200):
        super().__init__([WHOLE])
        self.says, self.answer_status = says, status
        self.sent = []
        self.free = True

    def carrier(self, dialect):
        del dialect
        return self

    def send_now(self, body, request_id, hear=None, passed_on=()):
        if not self.free:
            return None
        self.passed_on = dict(passed_on)
        self.sent.append(Answer(self.says, self.answer_status, hear))
        return self.sent[-1]

    async def send(self, body, request_id, hear=None, passed_on=()):
        self.passed_on = dict(passed_on)
        self.sent.append(Answer(self.says, self.answer_status, hear))
        return self.sent[-1]


class House:
    """The fast path and the rooms behind it."""

    def __init__(self, settings, engine, residency, ledger, books, answers=None):
        self.engine, self.residency, self.ledger, self.books = engine, residency, ledger, books
        clock = asyncio.get_running_loop().time
        self.catalogue = Catalogue(from_settings(settings))
        self.deployment = self.catalogue.resolve("m").deployments[0]
        self.admission = Admission(settings.admission)
        seats = Seats(
            self.catalogue, self.admission, residency, Copies(self.admission, residency, settings.residency)
        )
        self.routes = Routes(self.catalogue, settings.routing, clock)
        self.cache = cache_of(clock, answers=answers, semantic_ttl=0)
        self.tallies = MemoryTallies(lambda: int(clock() * 1_000_000))
        self.traces = Traces()
        guarding = Guarding(seats, settings.guard, PredictionCache(settings.predictions, clock))
        self.tracks = Tracks(
            seats, self.routes, ledger, Spending(), Digests(b"s", enabled=True), self.cache, guarding, self.traces
        )
        self.leaving = False
        self.lane = FastPath(
            ROUTES,
            self.tracks,
            Identity(settings.auth),
            Limits(settings.limits, self.tallies),
            settings.server,
            lambda: self.leaving,
        )

    async def takes(self, call):
        """Offer it; whether it takes this path is clear after a turn of the loop."""
        taken = self.lane.offer(call)
        await asyncio.sleep(0)
        return taken and not call.refused

    def held(self):
        """All that requests hold while they run."""
        gate = self.admission.gate_now(self.deployment)
        return (
            gate.running,
            self.residency.status(self.deployment).leases,
            self.routes.breaker(self.deployment).running,
            self.traces.on_the_way,
            self.cache.flights.under_way,
            {key: len(holders) for key, holders in self.tallies._seats.items() if holders},
        )


@asynccontextmanager
async def open_house(says=(WHOLE,), status=200, *, ahead=False, answers=None, spool=None, engine=Engine, **more):
    settings = Settings.model_validate({**SETTINGS, **more})
    engine, books, spool = engine(says, status), FakeBooks(), spool or FakeSpool()
    async with (
        Residency({EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}, settings.residency) as residency,
        Ledger(books, spool, Prices({}, ()), ahead=ahead) as ledger,
    ):
        house = House(settings, engine, residency, ledger, books, answers)
        house.spool = spool
        async with house.admission.slot(house.deployment), residency.lease(house.deployment):
            pass  # the first request to a model brings it in
        yield house


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("free", [True, False])
async def test_an_answer_leaves_nothing_held(body, free):
    async with open_house(FRAMES if body is STREAM else [WHOLE]) as house:
        house.engine.free = free
        before, call = house.held(), Call(body)
        assert await house.takes(call)
        assert house.held() != before
        await call.over()
        assert call.happened == ["ended"]
        assert house.held() == before
    (record,) = house.books.kept.values()
    assert (record.outcome, record.stream) == ("completed", body is STREAM)


@pytest.mark.parametrize("free", [True, False])
async def test_what_is_durable_at_once_is_told_at_once(free):
    async with open_house(ahead=True) as house:
        house.engine.free = free
        before = house.held()
        for _ in range(2):
            call = Call()
            assert await house.takes(call)
            await call.over()
            assert (call.happened, house.held()) == (["ended"], before)
        # The second is answered within the turn in which it comes.
        call = Call()
        assert await house.takes(call)
        assert (call.happened, house.held()) == (["ended"], before)
        assert house.spool.backlog + len(house.books.kept) == 3


async def test_who_leaves_while_the_record_is_written_has_one_record():
    async with open_house() as house:
        before, call = house.held(), Call()
        assert await house.takes(call)
        for _ in range(100):
            if house.ledger.stats().waiting:
                break
            await asyncio.sleep(0)
        call.leave()
        await call.over()
        assert house.held() == before
        assert not call.written
    (record,) = house.books.kept.values()
    assert record.outcome == "completed"


async def test_what_can_be_recorded_nowhere_is_not_told():
    async with open_house() as house:
        house.books.fate, house.spool.broken = (lambda: "away"), True
        before, call = house.held(), Call()
        assert await house.takes(call)
        await call.over()
        assert house.held() == before
        assert call.written.startswith(b"HTTP/1.1 503 ")
        house.books.fate, house.spool.broken = (lambda: "ok"), False


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("exports", [True, False])
@pytest.mark.parametrize("parent", ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "nonsense", None])
async def test_a_request_has_its_place_in_a_distributed_trace(free, exports, parent):
    hangs = [(b"traceparent", parent.encode()), (b"tracestate", b"a=b")] if parent else []
    async with open_house() as house:
        exported, house.engine.free = [], free
        if exports:
            house.traces.export(lambda trace, link: exported.append((trace, link)))
        call = Call(headers=HEADERS + hangs)
        assert await house.takes(call)
        await call.over()
        (trace,) = house.traces.recent
    link = linked(parent, "a=b", ours=False)
    passed = house.engine.passed_on
    if exports:
        ((told, where),) = exported
        assert (told, where.trace_id) == (trace, trace.trace_id)
        assert passed["traceparent"] == f"00-{trace.trace_id}-{where.span_id}-01"
        assert link is None or (where.trace_id, where.parent_id) == (link.trace_id, link.parent_id)
    else:
        assert trace.trace_id == (link.trace_id if link else "")
        assert passed == (link.headers() if link else {})
    assert passed.get("tracestate") == ("a=b" if link else None)


async def test_what_was_said_is_passed_on():
    async with open_house(FRAMES) as house:
        call = Call(STREAM)
        assert await house.takes(call)
        await call.over()
    head, _, rest = call.written.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert rest == b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in FRAMES) + b"0\r\n\r\n"


WORD = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":%b}}]}\n\n'
ODD_FRAMES = [
    WORD % rb'" \u00e4\n\ud83d\ude42"',
    WORD % b'""',
    WORD % b"null",
    b": ping\n\n",
    WORD[:20],
    WORD[20:] % b'" cut"',
    (WORD + WORD) % (b'" two"', b'" words"'),
    WORD.replace(b'"index":0', b'"index":0 ') % b'" otherwise"',
]


@pytest.mark.parametrize("way", ["in chunks of their own", "piece by piece", "at once"])
async def test_frames_pass_on_as_they_came_and_are_counted_and_kept(way):
    words = [WORD % b'"%b"' % word for word in (b" fair", b" and", b"", b" fine")]
    own = Alone if way == "in chunks of their own" else bytes
    says = [FRAMES[0], *[own(frame) for frame in (*words, *ODD_FRAMES, *words)], *FRAMES[1:]]
    said = [frame for frame in says if frame not in {WORD[:20], WORD[20:] % b'" cut"'}]
    said.insert(said.index(ODD_FRAMES[6]), WORD % b'" cut"')
    if way == "at once":
        says = said = [b"".join(says)]
    async with open_house(says) as house:
        streamed, whole = Call(STREAM), Call(BODY)
        for call in (streamed, whole):
            assert await house.takes(call)
            await call.over()
    head, _, body = streamed.written.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"".join(chunk(frame) for frame in said) + b"0\r\n\r\n"
    (choice,) = json.loads(whole.written.partition(b"\r\n\r\n")[2])["choices"]
    told = "Good fair and fine ä\n🙂 cut two words otherwise fair and fine day"
    assert (choice["message"]["content"], choice["finish_reason"]) == (told, "stop")
    (record,) = [record for record in house.books.kept.values() if not record.cache]
    assert (record.output_tokens, record.estimated) == (13, True)


@pytest.mark.parametrize("own", [Alone, bytes])
def test_who_waits_in_silence_is_pinged_and_who_is_spoken_to_is_not(own):
    word = own(WORD % b'" and"')
    says = [FRAMES[0], word, *[10.0, word] * 9, 34.0, word, *FRAMES[1:]]
    written = []

    async def main():
        async with open_house(says) as house:
            call = Call(STREAM)
            assert await house.takes(call)
            await call.over()
            written.append(call.written)

    simulate(main())
    assert written[0].count(b": ping") == 2
    assert written[0].index(b": ping") > written[0].index(chunk(word) * 9)


def test_who_has_heard_all_and_waits_for_the_record_is_not_taken_for_one_in_silence():
    says = [FRAMES[0], 10.0, *[Alone(WORD % b'" and"')] * 2, *FRAMES[1:], 12.0]
    written = []

    async def main():
        async with open_house(says) as house:
            call = Call(STREAM)
            assert await house.takes(call)
            await call.over()
            written.append(call.written)

    simulate(main())
    assert b": ping" not in written[0]


async def test_what_was_told_as_a_stream_is_told_again_whole():
    async with open_house(FRAMES) as house:
        for body in (STREAM, BODY):
            call = Call(body)
            assert await house.takes(call)
            await call.over()
    assert len(house.engine.sent) == 1
    (choice,) = json.loads(call.written.partition(b"\r\n\r\n")[2])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Good day", "stop")


async def test_a_kept_answer_asks_nobody():
    async with open_house() as house:
        for _ in range(2):
            call = Call()
            assert await house.takes(call)
            await call.over()
    assert b"x-enginehouse-cache: exact" in call.written
    assert len(house.engine.sent) == 1
    assert sorted(record.cache for record in house.books.kept.values()) == ["", "exact"]


@pytest.mark.parametrize(
    ("says", "status"), [([UpstreamDied("gone")], 200), ([b'{"error":{}}'], 500), ([b"<p>"], 200)]
)
async def test_who_got_no_answer_is_handed_over_with_what_was_tried(says, status):
    async with open_house(says, status) as house:
        before, call = house.held(), Call()
        assert await house.takes(call)
        await call.over()
        assert house.held() == before
        assert house.admission.gate_now(house.deployment).running == 0
        (tried,) = call.happened
        assert tried.deployment is house.deployment
    assert not house.books.kept
    assert not call.written
    # It counts against no limit: the general way will count it.
    assert all(not parts.used for parts in house.tallies._windows.values())


async def test_who_has_heard_something_hears_of_the_end():
    async with open_house([FRAMES[0], UpstreamDied("gone")]) as house:
        before, call = house.held(), Call(STREAM)
        assert await house.takes(call)
        await call.over()
        assert house.held() == before
        assert call.happened == ["ended"]
    assert b'"error"' in call.written
    assert b"[DONE]" not in call.written
    (record,) = house.books.kept.values()
    assert (record.outcome, record.error, record.output_tokens) == ("failed", UpstreamDied.code, 1)


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("begun", [False, True])
async def test_who_leaves_leaves_nothing_held(body, begun):
    says = [FRAMES[0], 3.0] if begun else [3.0]
    async with open_house(says) as house:
        before, call = house.held(), Call(body)
        assert await house.takes(call)
        await asyncio.sleep(0)
        call.leave()
        await call.over()
        assert house.held() == before
        assert house.engine.sent[0].left
        (trace,) = house.traces.recent
    assert (trace.status, trace.outcome) == (499, "cancelled")
    (record,) = house.books.kept.values()
    assert (record.outcome, record.estimated) == ("cancelled", True)


async def test_who_leaves_at_once_leaves_nothing_held():
    async with open_house([3.0]) as house:
        before, call = house.held(), Call()
        assert await house.takes(call)
        call.leave()
        await call.over()
        await asyncio.sleep(0)
        assert house.held() == before
    (record,) = house.books.kept.values()
    assert record.outcome == "cancelled"


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_who_leaves_in_the_turn_in_which_he_came_leaves_nothing_held(body):
    """His connection ends before anything was begun for him: it tells nobody, and says so when it is asked."""

    class Gone(Call):
        def hear(self, told):
            super().hear(told)
            if told is not None and self.gone:
                told()

    async with open_house([3.0]) as house:
        before, call = house.held(), Gone(body)
        assert house.lane.offer(call)
        call.gone = True
        await call.over()
        await asyncio.sleep(0)
        assert house.held() == before
    (record,) = house.books.kept.values()
    assert record.outcome == "cancelled"


async def test_who_leaves_in_the_turn_in_which_the_answer_comes_has_one_record():
    async with open_house() as house:
        before, call = house.held(), Call()
        assert await house.takes(call)
        answer = house.engine.sent[0]
        answer.coming.add_done_callback(lambda _: call.leave())  # hears of it after the lane
        await call.over()
        await asyncio.sleep(0)
        assert (call.written, house.held()) == (b"", before)
    (record,) = house.books.kept.values()
    assert record.outcome == "cancelled"


async def test_of_many_in_one_turn_each_question_is_asked_once_and_no_slot_is_given_twice():
    async with open_house([3.0], limits={}) as house:
        before = house.held()
        calls = [asking(text) for text in ("a", "a", "b", "c", "b")]
        assert all(house.lane.offer(call) for call in calls)
        await asyncio.sleep(0)
        assert [call.refused for call in calls] == [False, True, False, True, True]
        assert len(house.engine.sent) == 2
        for call in calls:
            if not call.refused:
                call.leave()
            await call.over()
        assert house.held() == before


async def test_all_of_a_turn_are_counted_before_one_more_is_let_in():
    async with open_house(models={"m": {**SETTINGS["models"]["m"], "slots": 9}}) as house:
        calls = [asking(str(number)) for number in range(5)]
        assert all(house.lane.offer(call) for call in calls)
        await asyncio.sleep(0)
        assert [call.refused for call in calls] == [False, False, True, True, True]  # two at once
        for call in calls:
            await call.over()


async def test_who_finds_no_place_has_taken_nothing_of_its_limits():
    models = {"m": {**SETTINGS["models"]["m"], "slots": 1}}
    async with open_house(models=models, limits={"tiers": {"admin": "9/minute, 5000 tokens/minute"}}) as house:
        calls = [asking(text) for text in "abc"]
        assert all(house.lane.offer(call) for call in calls)
        await asyncio.sleep(0)
        assert [call.refused for call in calls] == [False, True, True]
        used = {key: parts.used for key, parts in house.tallies._windows.items()}
        assert 1 in used.values()
        assert 3 not in used.values()
        await calls[0].over()


async def test_the_answers_of_one_turn_go_to_the_journal_together():
    async with open_house(ahead=True, limits={}) as house:
        calls = [asking(text) for text in "ab"]
        assert all(house.lane.offer(call) for call in calls)
        for call in calls:
            await call.over()
            assert call.happened == ["ended"]
        assert [len(lines) for lines in house.spool.parts.values()] == [2]


class Picky(FakeSpool):
    """A journal that cannot write down one of the records."""

    def append_now(self, lines, meant=None, /):
        if any(b'"odd"' in line for line in lines):
            raise ValueError(lines)
        return super().append_now(lines, meant)


async def test_a_record_that_cannot_be_written_down_is_no_other_requests_mistake():
    async with open_house(ahead=True, limits={}, spool=Picky()) as house:
        calls = [asking("a"), asking("b")]
        calls[0].headers = [*HEADERS[:2], (b"x-request-id", b"odd")]
        assert all(house.lane.offer(call) for call in calls)
        for call in calls:
            await call.over()
    assert [call.written[:12] for call in calls] == [b"HTTP/1.1 500", b"HTTP/1.1 200"]
    assert [record.request_id for record in house.books.kept.values()] == ["r"]


class Broken(MemoryAnswers):
    """Takes nothing."""

    def keep(self, entry):
        raise RuntimeError(entry.id)


async def test_an_answer_that_cannot_be_kept_is_told_and_nobody_waits_for_it():
    async with open_house(answers=Broken(10**6)) as house:
        before, call = house.held(), Call()
        assert await house.takes(call)
        await call.over()
        assert call.happened == ["ended"]
        assert house.held() == before
    (record,) = house.books.kept.values()
    assert record.outcome == "completed"


def test_a_mistake_in_the_end_of_one_request_keeps_no_other_from_telemetry():
    traces, trace = Traces(), Trace(id="t", time=0, request_id="b")

    def ending(told):
        traces.come()
        house = SimpleNamespace(rooms=SimpleNamespace(traces=traces))
        return SimpleNamespace(told=lambda _: told(), grant=None, link=None, request_id="a", track=house)

    runs = [ending(lambda: 1 // 0), ending(lambda: trace)]
    assert Run.settle(runs) == runs
    assert (traces.on_the_way, list(traces.recent)) == (0, [trace])


async def test_a_mistake_of_ours_in_one_request_is_told_to_its_connection_only():
    def read(body):
        if b"bad" in body:
            raise ZeroDivisionError
        return ROUTES[CHAT].read(body)

    async with open_house() as house:
        house.lane.paths = {CHAT: msgspec.structs.replace(ROUTES[CHAT], read=read)}
        calls = [asking("bad"), asking("good")]
        assert all(house.lane.offer(call) for call in calls)
        await calls[1].over()
    assert [call.happened for call in calls] == [["failed"], ["ended"]]


async def test_a_mistake_in_telling_one_answer_is_no_other_requests_and_leaves_nothing_held():
    class Broken(Call):
        """One whose connection makes a mistake."""

        def write(self, data):
            raise ZeroDivisionError

    async with open_house(limits={}) as house:
        before = house.held()
        calls = [Broken(json.dumps({**json.loads(BODY), "user": "a"}).encode()), asking("good")]
        assert all(house.lane.offer(call) for call in calls)
        await calls[1].over()
        await asyncio.sleep(0)
        assert [call.happened for call in calls] == [["failed"], ["ended"]]
        assert house.held() == before
    assert len(house.books.kept) == 2


async def test_a_mistake_in_leaving_one_engine_keeps_no_others_slot():
    class Broken(Answer):
        """One that cannot be left."""

        def leave(self):
            raise ZeroDivisionError

    class Breaking(Engine):
        """One whose first answer is that."""

        def send_now(self, body, request_id, hear=None, passed_on=()):
            kind = Answer if self.sent else Broken
            self.sent.append(kind(self.says, self.answer_status, hear))
            return self.sent[-1]

    async with open_house(engine=Breaking, limits={}) as house:
        before, calls = house.held(), [asking("bad"), asking("good")]
        assert all(house.lane.offer(call) for call in calls)
        for call in calls:
            await call.over()
        await asyncio.sleep(0)
        assert [call.happened for call in calls] == [["ended"], ["ended"]]
        assert house.held() == before


async def test_a_mistake_of_ours_in_asking_leaves_nothing_held():
    class Broken(Engine):
        """One that cannot be asked once."""

        def send_now(self, *args):
            if not self.sent:
                self.sent.append(args)
                raise ZeroDivisionError
            return super().send_now(*args)

    async with open_house(engine=Broken) as house:
        before = house.held()
        calls = [asking("bad"), asking("good")]
        assert all(house.lane.offer(call) for call in calls)
        await calls[1].over()
        assert [call.happened for call in calls] == [["failed"], ["ended"]]
        assert house.held() == before
        assert not house.routes.breaker(house.deployment).open
        again = asking("bad")
        assert await house.takes(again)
        await again.over()
    assert again.happened == ["ended"], "what it asks is not taken to be under way"


async def test_who_is_cut_off_by_the_service_is_told_so():
    async with open_house([3.0]) as house:
        before, call = house.held(), Call()
        assert await house.takes(call)
        await asyncio.sleep(0)
        call.told()
        await call.over()
        assert house.held() == before
    assert call.written.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert call.happened == ["ended"]
    (record,) = house.books.kept.values()
    assert (record.outcome, record.error) == ("failed", "shutting_down")


STRANGE = {
    "an unknown header": lambda: Call(headers=[*HEADERS, (b"x-anything", b"1")]),
    "a page": lambda: Call(headers=[*HEADERS, (b"origin", b"http://localhost")]),
    "two keys": lambda: Call(headers=[*HEADERS, (b"authorization", b"Bearer other")]),
    "a wrong key": lambda: Call(headers=[(b"authorization", b"Bearer other")]),
    "an id that is none": lambda: Call(headers=[*HEADERS[:2], (b"x-request-id", b"\xff")]),
    "tools": lambda: Call(BODY.replace(b"{", b'{"tools":[],', 1)),
    "no JSON": lambda: Call(BODY[:-1]),
    "an unknown model": lambda: Call(BODY.replace(b'"m"', b'"n"')),
    "a body that is too large": lambda: Call(BODY + b" " * 5000),
    "more tokens than are left": lambda: Call(BODY.replace(b"{", b'{"max_tokens":6000,', 1)),
}


@pytest.mark.parametrize("what", STRANGE)
async def test_what_is_not_plain_goes_the_general_way_without_a_trace(what):
    async with open_house() as house:
        first = Call()
        assert await house.takes(first)  # takes some of the tokens
        await first.over()
        held, stats = house.held(), dict(house.cache.stats.outcomes)
        windows = {key: parts.used for key, parts in house.tallies._windows.items()}
        call = STRANGE[what]()
        assert not await house.takes(call)
        assert not call.happened
        assert house.held() == held
        assert dict(house.cache.stats.outcomes) == stats
        assert {key: parts.used for key, parts in house.tallies._windows.items()} == windows


async def test_who_finds_no_slot_or_the_same_question_under_way_goes_the_general_way():
    async with open_house([3.0]) as house:
        calls = [Call(), Call(BODY.replace(b"hi", b"ho"))]
        assert await house.takes(calls[0])
        held = house.held()
        assert not await house.takes(Call())
        assert house.held() == held
        assert await house.takes(calls[1])
        held = house.held()
        assert not await house.takes(Call(BODY.replace(b"hi", b"he")))
        assert house.held() == held
        await asyncio.sleep(0)
        for call in calls:
            call.leave()
            await call.over()


@pytest.mark.parametrize(
    "more",
    [
        {"guard": {"mode": "shadow"}},
        {"models": {"m": {**SETTINGS["models"]["m"], "timeouts": {"total": 5}}}},
        {"models": {"m": {**SETTINGS["models"]["m"], "deployments": [{"base_url": "http://127.0.0.1:8"}]}}},
    ],
)
async def test_models_that_somebody_has_a_word_in_are_asked_generally(more):
    async with open_house(**more) as house:
        assert not await house.takes(Call())


async def test_the_fast_path_can_be_shut():
    async with open_house(server={"fast_path": False}) as house:
        assert not await house.takes(Call())


def test_what_says_nothing_is_read_by_no_face():
    """Who gives a header a meaning has to take it out of the list of those that have none."""
    faces = Path(enginehouse.api.__file__).parent
    source = "".join(path.read_text() for path in faces.glob("*.py") if path.name != "fastpath.py")
    read = re.findall(r'(?:header\(|== |in \(|get\(|_[A-Z]+ = )b"([a-z-]+)"', source)
    assert "x-request-id" in read
    assert not {name.encode() for name in read} & SAYING_NOTHING


async def test_while_the_service_leaves_answers_are_given_generally():
    async with open_house() as house:
        house.leaving = True
        assert not await house.takes(Call())


async def test_a_breaker_that_is_open_is_the_general_ways_to_tell():
    async with open_house([b"no"], 500, routing={"breaker_failures": 1}) as house:
        first = Call()
        assert await house.takes(first)
        await first.over()
        assert not await house.takes(Call())


async def test_a_server_that_was_left_alone_is_tried_by_one_of_a_turn():
    routing = {"breaker_failures": 1, "breaker_cooldown": 5}
    models = {"m": {**SETTINGS["models"]["m"], "slots": 9}}
    async with open_house([b"no"], 500, limits={}, routing=routing, models=models) as house:
        first = Call()
        assert await house.takes(first)
        await first.over()
        await asyncio.sleep(6)
        house.engine.says, house.engine.answer_status = [WHOLE], 200
        for refused in ([False, True, True], [False, False, False]):
            calls = [asking(f"{text} {refused}") for text in "abc"]
            assert all(house.lane.offer(call) for call in calls)
            await asyncio.sleep(0)
            assert [call.refused for call in calls] == refused
            for call in calls:
                await call.over()


WORDS = st.builds(TextDelta, text=st.text(max_size=3), choice=st.sampled_from([0, 0, 0, 1]))
ENDS = st.builds(Finished, reason=st.sampled_from(list(Finish)), choice=st.sampled_from([0, 0, 1]))
COUNTS = st.builds(Counted, usage=st.builds(Usage, input=st.integers(0, 9), output=st.integers(0, 9)))
EVENTS = st.lists(st.one_of(WORDS, WORDS, WORDS, ENDS, COUNTS, st.just(RefusalDelta(text="no"))), max_size=6)


@given(st.lists(EVENTS | st.lists(WORDS, max_size=3), max_size=4), st.sampled_from(["events", "words", "runs"]))
def test_what_a_stream_said_is_the_answer_that_its_events_fold_to(pieces, way):
    said, events = Said(), [Began(id="x", model="m")]
    said.note(events)
    for piece in pieces:
        words = [event.text for event in piece if type(event) is TextDelta]
        choices = {event.choice for event in piece if type(event) is TextDelta}
        if way == "events" or len(words) < len(piece) or len(choices) != 1:
            said.note(piece)
        elif way == "runs":
            said.note([Words(words, *choices)])
        else:
            say = said.more_of(*choices)
            for word in words:
                say(word)
        events += piece
    answer = said.answer()
    assert (answer.answer() if isinstance(answer, PlainAnswer) else answer) == fold(joined(events))


class Collected(Call):
    """A call that, like a connection's, lets go of who answered it."""

    def end(self):
        self.told = None
        super().end()

    def full(self, told):
        del told


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("ahead", [True, False])
async def test_an_answer_leaves_nothing_to_the_garbage_collector(body, ahead):
    async with open_house(FRAMES if body is STREAM else [WHOLE], ahead=ahead, limits={}) as house:
        for number in range(4):  # the last two of whole answers are kept ones
            text = b"hi %d" % (number if body is STREAM else number % 2)
            gc.collect()
            gc.disable()
            try:
                call = Collected(body.replace(b"hi", text))
                assert await house.takes(call)
                await call.over()
                house.engine.sent.clear()
                gone = weakref.ref(call)
                del call
                await asyncio.sleep(0)
                assert gone() is None
            finally:
                gc.enable()


PLACES = {
    "models": {
        "m": {
            "base_url": "http://127.0.0.1:9",
            "slots": 2,
            "deployments": [{"base_url": "http://127.0.0.1:10"}, {"base_url": "http://127.0.0.1:11"}],
        }
    },
    "limits": {},
}


@asynccontextmanager
async def open_houses(says=(WHOLE,), status=200, **more):
    """One whose model has three deployments, all of which are in memory."""
    async with open_house(says, status, **PLACES, **more) as house:
        house.places = house.catalogue.resolve("m").deployments
        for deployment in house.places:
            async with house.admission.slot(deployment), house.residency.lease(deployment):
                pass
        yield house


def asking(text, **more):
    return Call(json.dumps({**json.loads(BODY), "messages": [{"role": "user", "content": text}], **more}).encode())


@pytest.mark.parametrize("affinity", [0, 1.5])
async def test_of_several_places_the_one_is_asked_that_the_general_way_would_ask(affinity):
    async with open_houses(routing={"affinity": affinity}) as house:
        wanted = []
        for number in range(12):
            call = asking(f"question {number}")
            head = head_of(OpenAIChat().read_request(call.body).generation)
            wanted.append(house.routes.pick(house.catalogue.resolve("m"), head=lambda head=head: head).id)
            before = house.held()
            assert await house.takes(call)
            await call.over()
            assert (call.happened, house.held()) == (["ended"], before)
    assert [record.deployment for record in house.books.kept.values()] == wanted
    assert len(set(wanted)) == 3


async def test_those_who_come_in_one_turn_go_where_the_least_is_outstanding():
    async with open_houses(routing={"affinity": 0}) as house:
        before, calls = house.held(), [asking(f"question {number}") for number in range(7)]
        assert all(house.lane.offer(call) for call in calls)
        await asyncio.sleep(0)
        assert [house.routes.breaker(place).running for place in house.places] == [2, 2, 2]
        assert [call.refused for call in calls] == [False] * 6 + [True]
        for call in calls[:6]:
            await call.over()
        assert house.held() == before
        assert [house.admission.gate_now(place).stats().served for place in house.places] == [4, 3, 3]


async def test_a_place_that_is_left_alone_is_not_asked_and_without_any_nobody_is():
    async with open_houses(routing={"breaker_failures": 1, "affinity": 0}) as house:
        for deployment in house.places[:2]:
            with suppress(UpstreamDied), house.routes.visit(deployment):
                raise UpstreamDied("gone")
        for number in range(3):
            call = asking(f"question {number}")
            assert await house.takes(call)
            await call.over()
        with suppress(UpstreamDied), house.routes.visit(house.places[2]):
            raise UpstreamDied("gone")
        assert not await house.takes(asking("nobody"))
    assert {record.deployment for record in house.books.kept.values()} == {house.places[2].id}


async def test_who_got_no_answer_at_one_place_is_handed_over_with_it():
    async with open_houses([UpstreamDied("gone")]) as house:
        before, call = house.held(), asking("question")
        head = head_of(OpenAIChat().read_request(call.body).generation)
        chosen = house.routes.pick(house.catalogue.resolve("m"), head=lambda: head)
        assert await house.takes(call)
        await call.over()
        (tried,) = call.happened
        assert tried.deployment is chosen
        assert house.held() == before


async def test_a_kept_answer_is_told_of_the_first_place_as_the_general_way_does():
    async with open_houses() as house:
        for _ in range(2):
            call = asking("again")
            assert await house.takes(call)
            await call.over()
    records = list(house.books.kept.values())
    assert [record.cache for record in records] == ["", "exact"]
    assert records[1].deployment == house.places[0].id


async def test_made_up_names_are_not_remembered_at_length():
    async with open_house() as house:
        assert not await house.takes(Call(BODY.replace(b'"m"', b'"%b"' % (b"m" * 1000))))
        assert not await house.takes(Call(BODY.replace(b'"m"', b'"nobody"')))
        assert [name for _, _, name in house.tracks._known] == ["nobody"]


async def test_of_very_many_tracks_some_are_forgotten():
    async with open_houses() as house:
        for number in range(5000):
            await house.takes(Call(BODY.replace(b'"m"', b'"m%d"' % number)))
        assert len(house.tracks._known) < 4097
        assert await house.takes(asking("still"))
