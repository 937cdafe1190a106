"""What is told of a request on the fast path is filled in by place: each value is in the field of its name."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from enginehouse.app.fast import ROUTES
from enginehouse.core.catalogue import from_settings
from enginehouse.core.gateway.fast.telling import Outcome, record_of, trace_of
from enginehouse.core.gateway.fast.tracks import Track
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import UsageRecord, from_line, line_of, record_in_order
from enginehouse.core.traces.link import linked
from enginehouse.core.traces.trace import Trace, cause_of, words_of
from enginehouse.core.traces.way import own_time
from enginehouse.settings.schema import Settings
from enginehouse.types import Principal, Usage
from tests.ledger_contract import record

SETTINGS = Settings.model_validate(
    {
        "default_models": False,
        "models": {
            "m": {"base_url": "http://127.0.0.1:9", "slots": 2, "price": {"input_per_1k": "0.003"}},
            "free": {"base_url": "http://127.0.0.1:9"},
        },
    }
)
PRICES = Prices({name: model.price for name, model in SETTINGS.models.items() if model.price is not None})
DIGESTS = Digests(b"s" * 32, enabled=True)
ANN = Principal(user="ann", key="k", tenant="t", tier="basic", role="admin", tags=("a", "b"))
OUTCOMES = [
    Outcome("completed", "", "", 200),
    Outcome("failed", "upstream_died", "The engine of 'm' ended with code 139", 502),
    Outcome("cancelled", "caller_gone", "", 499),
]


def track_of(name):
    model = next(one for one in from_settings(SETTINGS) if one.id == name)
    rooms = SimpleNamespace(ledger=SimpleNamespace(prices=PRICES), digests=DIGESTS)
    return Track(rooms, next(iter(ROUTES.values())), ANN, "called", model, None, model.deployments[0])


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACKS = {name: track_of(name) for name in SETTINGS.models}
SECONDS = st.floats(0, 100)
COUNTS = st.integers(0, 5000)


@st.composite
def runs(draw):
    """A request that has ended; its steps came one after the other."""
    began = draw(SECONDS)
    *steps, now = (began + late for late in sorted(draw(st.tuples(*[SECONDS] * 6))))
    begun, sought, sat, sent, over = steps
    run = SimpleNamespace(
        track=TRACKS[draw(st.sampled_from(sorted(TRACKS)))],
        asked=SimpleNamespace(
            stream=draw(st.booleans()), anonymous_brief=draw(st.sampled_from([b"{}", b'{"n":1}']))
        ),
        body=b"{}",
        request_id=draw(st.text(max_size=5)),
        clock=lambda: now,
        at=1_795_336_000 + draw(SECONDS),
        began=began,
        begun=begun,
        sought=sought,
        sat=began,
        sent=began,
        over=over,
        ttft=None,
        upstream=None,
        wrote=draw(SECONDS),
        usage=None,
        record=None,
        link=draw(st.sampled_from([None, linked(PARENT, None, ours=False)])),
        look=SimpleNamespace(tier="exact"),
    )
    if draw(st.booleans()):
        run.sat, run.sent, run.upstream, run.look.tier = sat, sent, over - sent, "miss"
        run.ttft = draw(st.none() | SECONDS)
        run.usage = draw(st.none() | st.builds(Usage, input=COUNTS, cached_input=COUNTS, output=COUNTS))
    return run


def micro(seconds):
    return None if seconds is None else round(seconds * 1_000_000)


def said(run, outcome, name):
    """The record by the names of its fields, as the general way fills it in."""
    track, usage, upstream = run.track, run.usage or Usage(), micro(run.upstream)
    plain = UsageRecord(
        id=name,
        request_id=run.request_id,
        time=int(run.at * 1_000_000),
        user_id="ann",
        key_id="k",
        tenant="t",
        tier="basic",
        tags=("a", "b"),
        model=track.model.id,
        deployment=track.model.deployments[0].id,
        engine=track.model.deployments[0].engine.value,
        slots=track.model.deployments[0].slots,
        face=track.dialect.value,
        operation="chat",
        stream=run.asked.stream,
        outcome=outcome.name,
        error=outcome.error,
        cache="exact" if upstream is None else "",
        digest=DIGESTS.of(ANN, lambda: run.asked.anonymous_brief),
        input_tokens=usage.input,
        cached_input_tokens=usage.cached_input,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        estimated=usage.estimated,
        queue_us=None if upstream is None else 0,
        load_us=None if upstream is None else 0,
        ttft_us=micro(run.ttft),
        upstream_us=upstream,
        total_us=micro(run.over - run.began),
    )
    return plain.charged(PRICES.money(plain))


@given(runs(), st.sampled_from(OUTCOMES))
def test_a_record_says_what_its_names_would(run, outcome):
    made = record_of(run, outcome)
    plain = said(run, outcome, made.id)
    assert asdict(made) == asdict(plain)
    assert from_line(line_of(made)) == plain


@given(runs(), st.sampled_from(OUTCOMES))
def test_a_trace_says_what_its_names_would(run, outcome):
    one = run.record = record_of(run, outcome)
    track, made = run.track, trace_of(run, outcome)
    start, over = run.began, one.total_us
    known, sought = micro(run.begun - start), micro(run.sought - start)
    spans = [("identity", 0, known), ("cache", known, sought - known), ("limits", sought, 0)]
    if run.upstream is not None:
        spans += [("queue", sought, 0), ("load", sought, micro(run.sat - start) - sought)]
        spans += [("upstream", micro(run.sent - start), one.upstream_us)]
    total = micro(run.clock() - start)
    assert made == Trace(
        id=made.id,
        time=one.time,
        request_id=run.request_id,
        trace_id="" if run.link is None else run.link.trace_id,
        user_id="ann",
        key_id="k",
        tenant="t",
        role="admin",
        tier="basic",
        model=track.model.id,
        asked="called",
        deployment=one.deployment,
        engine=one.engine,
        provider=one.provider,
        face=one.face,
        path="/v1/chat/completions",
        operation="chat",
        stream=one.stream,
        priority="normal",
        status=outcome.status,
        outcome=outcome.name,
        error=outcome.error,
        cause=cause_of(outcome.message),
        message=words_of(outcome.message),
        cache=run.look.tier,
        calls=1,
        input_tokens=one.input_tokens,
        cached_input_tokens=one.cached_input_tokens,
        output_tokens=one.output_tokens,
        reasoning_tokens=one.reasoning_tokens,
        estimated=one.estimated,
        cost=one.cost,
        total_us=total,
        ttft_us=one.ttft_us,
        gateway_us=own_time(total, [span for span in spans if span[0] == "upstream"]),
        phases=made.phases,
        times=made.times,
    )
    assert made.spans == [*spans, ("ledger", over, micro(run.wrote))]
    assert made.gateway_us >= 0
    assert all(took >= 0 for _, _, took in made.spans)


def test_a_record_in_order_is_a_record():
    one = record(tags=("a",), cost=5, digest="d")
    made = record_in_order(*asdict(one).values())
    assert isinstance(made, UsageRecord)
    assert asdict(made) == asdict(one)
    assert line_of(made) == line_of(one)
    with pytest.raises(TypeError):
        record_in_order("too few")
