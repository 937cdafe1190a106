"""The fast path leaves behind what the general way leaves: answers, records, telemetry, limits, kept answers."""

import http.client
import json
import re
import time

import pytest

from tests.integration.service import Service
from tests.integration.upstream import Upstream

KEY = {"Authorization": "Bearer sesame"}
GENERALLY = {"X-Nobody-Knows": "this"}
"""A header that the fast path does not know sends a request the general way."""
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def model(upstream, way="well", **more):
    return {
        "engine": "openai",
        "base_url": f"{upstream.url}/{way}/v1",
        "upstream_model": "theirs",
        "price": {"input_per_1k": "0.25", "output_per_1k": "1.5"},
        **more,
    }


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    models = {
        "fast": model(upstream),
        "slow": model(upstream),
        "broken": model(upstream, "broken"),
        "cut": model(upstream, "cut"),
        "several": model(upstream, deployments=[{"base_url": f"{upstream.url}/broken/v1"}]),
    }
    config = {
        "data_dir": str(folder / "data"),
        "default_models": False,
        "models": models,
        "cache": {"enabled": True, "semantic_ttl": 0},
        "routing": {"retries": 0, "breaker_failures": 10_000},
        "auth": {"api_keys": ["sesame"]},
        "limits": {"tiers": {"admin": "1000/hour, 1000000 tokens/hour, 100 at once"}},
    }
    with Service(folder, config) as running:
        for name in models:  # the first request to a model brings it in, generally
            Answer(running, CHAT, {"model": name, **chat("text first")}, GENERALLY)
        yield running


class Answer:
    """What came back over HTTP."""

    def __init__(self, house, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
        connection.request("POST", path, json.dumps(body), {**KEY, **headers})
        reply = connection.getresponse()
        self.status, self.headers = reply.status, reply.getheaders()
        self.body = reply.read()
        connection.close()

    def head(self):
        """Without what differs from request to request."""
        varies = {"date", "x-request-id", "server-timing", "age"}
        told = [(name.lower(), value) for name, value in self.headers if name.lower() not in varies]
        return [(name, "…" if "remaining" in name or "reset" in name else value) for name, value in told]

    def phases(self):
        """The names in Server-Timing."""
        timing = dict(self.headers)["server-timing"]
        return re.findall(r"(\w+);dur=", timing)

    def remaining(self, what):
        return int(dict(self.headers)[f"x-ratelimit-remaining-{what}"])


def taken(house):
    """How many requests have taken the fast path."""
    text = house.call("/metrics", headers=KEY)[1]
    return int(float(re.search(r"^enginehouse_fast_path_requests_total (\S+)", text, re.MULTILINE)[1]))


def both(house, path, fields, headers=None):
    """The same request by the fast path, and then by the general way to a model that is like it."""
    before = taken(house)
    fast = Answer(house, path, {"model": "fast", **fields}, headers or {})
    assert taken(house) == before + 1
    slow = Answer(house, path, {"model": "slow", **fields}, {**(headers or {}), **GENERALLY})
    assert taken(house) == before + 1
    return fast, slow


def alike(text):
    """Bodies and records without the model's name."""
    return re.sub(rb"\b(fast|slow)\b", b"MODEL", text)


def chat(text, **more):
    return {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}], **more}


SHAPES = {
    "chat": (CHAT, chat("text whole", temperature=0.7)),
    "chat, cold": (CHAT, chat("text cold", temperature=0)),
    "chat with all fields": (
        CHAT,
        chat("text fields", max_tokens=50, stop=["x"], seed=1, user="u", top_p=1, n=1, presence_penalty=0.5),
    ),
    "text": (TEXT, {"prompt": "text completion", "max_tokens": 7}),
    "stream": (CHAT, chat("text stream", stream=True)),
    "stream that counts": (CHAT, chat("text counts", stream=True, stream_options={"include_usage": True})),
    "text stream": (TEXT, {"prompt": "text streamed", "stream": True}),
    "dripping": (CHAT, chat("text 世界")),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_give_the_same_answer(house, shape):
    path, fields = SHAPES[shape]
    fast, slow = both(house, path, fields)
    assert (fast.status, slow.status) == (200, 200)
    assert alike(fast.body) == alike(slow.body)
    assert alike(repr(fast.head()).encode()) == alike(repr(slow.head()).encode())
    assert fast.phases() == slow.phases()


@pytest.mark.parametrize("shape", [name for name, (_, fields) in SHAPES.items() if not fields.get("stream")])
def test_both_ways_tell_a_kept_answer_alike(house, shape):
    path, fields = SHAPES[shape]
    both(house, path, fields)
    fast, slow = both(house, path, fields)
    assert dict(fast.headers)["x-enginehouse-cache"] == dict(slow.headers)["x-enginehouse-cache"] == "exact"
    fresh = re.compile(rb'"(id|created)":("[^"]*"|\d+)')
    assert fresh.sub(b"", alike(fast.body)) == fresh.sub(b"", alike(slow.body))
    assert alike(repr(fast.head()).encode()) == alike(repr(slow.head()).encode())
    assert fast.phases() == slow.phases()


def told_of(house, path, name):
    """What is kept of the newest requests to a model, without what differs from one to the next."""
    house.wait_until(lambda: True, 1)
    return house.call(path, headers=KEY)[1]


def test_both_ways_are_recorded_alike(house):
    for at, (path, fields) in enumerate(SHAPES.values()):
        named = {"X-Request-ID": f"recorded-{at}"}
        both(house, path, {**fields, "user": f"recorded {at}"}, named)
    traces = [
        house.call(f"/v1/telemetry/requests?request_id=recorded-{at}", headers=KEY)[1]["data"]
        for at in range(len(SHAPES))
    ]
    assert all(len(two) == 2 for two in traces)
    for two in traces:
        slow, fast = (_timeless(one) for one in two)
        assert fast == slow


def _timeless(trace):
    varies = {"id", "timestamp", "model", "requested_model", "deployment", "tokens_per_second"}
    kept = {name: value for name, value in trace.items() if name not in varies}
    kept["timings_ms"] = {name: took is not None for name, took in trace["timings_ms"].items()}
    return kept


def test_both_ways_count_alike(house):
    def usage():
        time.sleep(0.3)
        rows = house.call("/v1/llm/usage?group_by=model", headers=KEY)[1]
        return {row["model"]: row for row in rows["groups"]}

    before = usage()
    for path, fields in SHAPES.values():
        both(house, path, {**fields, "user": "counted"})
    after = usage()
    for name, value in after["fast"].items():
        if isinstance(value, int | float):
            grown = [after[one][name] - before.get(one, {}).get(name, 0) for one in ("fast", "slow")]
            assert grown[0] == grown[1], name


def test_limits_count_both_ways_alike(house):
    fast, slow = both(house, CHAT, chat("text limited", temperature=0.9, max_tokens=100))
    again, _ = both(house, CHAT, chat("text limited more", temperature=0.9, max_tokens=100))
    assert fast.remaining("requests") - slow.remaining("requests") == 1
    spent = fast.remaining("tokens") - slow.remaining("tokens")
    assert spent == slow.remaining("tokens") - again.remaining("tokens") == 16


@pytest.mark.parametrize("name", ["broken", "cut"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_server_is_told_of_alike(house, upstream, name, stream):
    text = f"text {name} {stream}"
    upstream.heard[text].set()
    upstream.heard[text + "!"].set()
    fast = Answer(house, CHAT, {"model": name, **chat(text, stream=stream)}, {})
    slow = Answer(house, CHAT, {"model": name, **chat(text + "!", stream=stream)}, GENERALLY)
    assert fast.status == slow.status
    assert fast.head() == slow.head()
    assert fast.body.replace(text.encode(), b"") == slow.body.replace(text.encode() + b"!", b"")


@pytest.mark.parametrize("stream", [False, True])
def test_of_several_servers_the_one_that_fails_is_made_up_for(house, upstream, stream):
    def ask(number, headers):
        text = f"text several {stream} {number}"
        upstream.heard[text].set()
        return Answer(house, CHAT, {"model": "several", **chat(text, stream=stream)}, headers)

    for number in range(12):  # which brings both in
        ask(number, GENERALLY)
    before = taken(house)
    answers = [ask(number, {}) for number in range(12, 36)]
    assert {answer.status for answer in answers} == {200}
    assert taken(house) == before + 24
    asked = house.call("/v1/telemetry/requests?limit=24", headers=KEY)[1]["data"]
    assert {one["cache"] for one in asked} == {"miss"}
    assert len({one["deployment"] for one in asked}) == 1
