"""How official clients take our refusals: error classes, time-outs, and how often they ask again.

OpenAI's and Anthropic's clients ask twice more after 408, 409, 429 and 5xx, wait for as long as `Retry-After` says,
and obey `x-should-retry`; Ollama's asks once. What they do is counted where the requests arrive.
"""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.askers import ASKERS
from tests.integration.service import Service, Stream, free_port
from tests.integration.upstream import Upstream

ADMIN = {"X-API-Key": "the-admin-of-this-test"}
FAULTS = ("well", "twice", "broken", "hang", "hang_within")
RETRY = [name for name in ASKERS if name != "Ollama"]
"""Those that ask again."""
_numbers = itertools.count()

CLASSES = {
    "OpenAI": {
        "wrong": ("BadRequestError", 400),
        "stranger": ("AuthenticationError", 401),
        "forbidden": ("PermissionDeniedError", 403),
        "unknown": ("NotFoundError", 404),
        "huge": ("APIStatusError", 413),
        "spent": ("RateLimitError", 429),
    },
    "Anthropic": {
        "wrong": ("BadRequestError", 400),
        "stranger": ("AuthenticationError", 401),
        "forbidden": ("PermissionDeniedError", 403),
        "unknown": ("NotFoundError", 404),
        "huge": ("ContentTooLargeError", 413),
        "spent": ("PaymentRequiredError", 402),
    },
    "Ollama": {
        "wrong": ("ResponseError", 400),
        "stranger": ("ResponseError", 401),
        "forbidden": ("ResponseError", 403),
        "unknown": ("ResponseError", 404),
        "huge": ("ResponseError", 413),
        "spent": ("ResponseError", 429),
    },
}
CLASSES["JavaScriptOpenAI"] = CLASSES["OpenAI"] | {"huge": ("APIError", 413)}
LATE = {
    "OpenAI": "APITimeoutError",
    "Anthropic": "APITimeoutError",
    "Ollama": "ReadTimeout",
    "JavaScriptOpenAI": "APIConnectionTimeoutError",
}
"""What a client's own time-out is called."""
AWAY = dict.fromkeys(RETRY, "APIConnectionError") | {"Ollama": "ConnectionError"}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    """Asks each server once, and never leaves one alone: whoever asks again, or waits, is the client."""
    folder = tmp_path_factory.mktemp("manners")
    models = {fault: {"engine": "openai", "base_url": f"{upstream.url}/{fault}/v1"} for fault in FAULTS}
    price = {"input_per_1k": "1", "output_per_1k": "1"}
    config = {
        "data_dir": str(folder),
        "default_models": False,
        "models": {
            **models,
            "dear": {**models["well"], "price": price},
            **{f"narrow-{name}": {**models["well"], "slots": 1} for name in ASKERS},
        },
        "auth": {"api_keys": [ADMIN["X-API-Key"]]},
        "admission": {"max_queue_size": 0, "high_priority_roles": ["admin"]},
        "routing": {"retries": 0, "breaker_failures": 10_000, "max_retry_after": 1e-3},
        "server": {"max_body_bytes": 100_000},
    }
    with Service(folder, config) as running:
        yield running


@pytest.fixture(scope="module", params=ASKERS)
def asker(house, request):
    asker = ASKERS[request.param](house.url)
    yield asker
    asker.close()


@pytest.fixture
def key(house):
    def key(**wanted):
        _, made, _ = house.call("/v1/keys", {"tier": "free", "user_id": f"u{next(_numbers)}", **wanted}, ADMIN)
        return made["key"]

    return key


def name_of(asker):
    return type(asker).__name__


def question(word="text"):
    return f"{word} {next(_numbers)}"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CLASSES["OpenAI"])
def test_a_refusal_is_the_clients_own_class_and_nobody_asks_again(asker, key, case, stream):
    ask = {
        "wrong": lambda: asker.ask("well", "text", key=key(), stream=stream, temperature="hot"),
        "stranger": lambda: asker.ask("well", "text", key="ehk_nobody", stream=stream),
        "forbidden": lambda: asker.ask("well", "text", key=key(models=["other"]), stream=stream),
        "unknown": lambda: asker.ask("nobody", "text", key=key(), stream=stream),
        "huge": lambda: asker.ask("well", "x" * 150_000, key=key(), stream=stream),
        "spent": lambda: asker.ask(
            "dear", "text", key=key(budget={"dollars": "0.000001", "period": "total"}), stream=stream
        ),
    }
    outcome = ask[case]()
    assert (outcome.error, outcome.status) == CLASSES[name_of(asker)][case]
    assert outcome.tries == 1


def test_a_service_that_is_not_there_is_a_connection_error(asker):
    url, asker.url = asker.url, f"http://127.0.0.1:{free_port()}"
    outcome = asker.ask("well", "text")
    asker.url = url
    assert (outcome.error, outcome.tries) == (AWAY[name_of(asker)], 3 if name_of(asker) in RETRY else 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_is_busy_twice_is_asked_three_times(asker, upstream, key, stream):
    """Its `Retry-After` reaches the client, who keeps to it."""
    text = question()
    outcome = asker.ask("twice", text, key=key(), stream=stream)
    arrivals = upstream.arrivals[text]
    if name_of(asker) not in RETRY:
        assert (outcome.error, outcome.status, outcome.tries, len(arrivals)) == ("ResponseError", 502, 1, 1)
        return
    assert (outcome.error, outcome.text) == ("", f"Grüße, 世界: {text}")
    assert (outcome.tries, len(arrivals)) == (3, 3)
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(arrivals))


def test_a_server_that_stays_broken_is_asked_three_times_and_no_more(asker, upstream, key):
    text = question()
    outcome = asker.ask("broken", text, key=key())
    tries = 3 if name_of(asker) in RETRY else 1
    error = "InternalServerError" if name_of(asker) in RETRY else "ResponseError"
    assert (outcome.error, outcome.status) == (error, 502)
    assert outcome.tries == len(upstream.arrivals[text]) == tries


def test_who_finds_the_line_full_comes_again_when_told(asker, house, upstream, key):
    """The one slot is free again before a client who was refused comes back."""
    model, text, held = f"narrow-{name_of(asker)}", question(), question("leave")
    body = {"model": model, "messages": [{"role": "user", "content": held}], "stream": True}
    with ThreadPoolExecutor(1) as pool:
        with Stream(house, "/v1/chat/completions", body, headers=ADMIN) as running:
            running.read_until(b"word")
            waiting = pool.submit(asker.ask, model, text, key=key())
            house.wait_until(lambda: _rejected(house, model) == 1, 20)
        outcome = waiting.result()
    if name_of(asker) in RETRY:
        assert (outcome.error, outcome.text, outcome.tries) == ("", f"Grüße, 世界: {text}", 2)
        assert outcome.seconds >= 1
    else:
        assert (outcome.error, outcome.status, outcome.tries) == ("ResponseError", 503, 1)
    assert len(upstream.arrivals[text]) == outcome.tries - 1


def _active(house, model):
    return house.call("/v1/status", headers=ADMIN)[1]["models"][model]["active_requests"]


def _rejected(house, model):
    return house.call("/v1/queue/stats", headers=ADMIN)[1]["queues"][model]["rejected"]


def test_who_asks_too_often_waits_as_long_as_told(asker, upstream, key):
    """`Retry-After` is true: whoever keeps to it is not refused again."""
    mine, text = key(limits={"requests": "1/3 seconds"}), question()
    began = time.monotonic()
    first, second = asker.ask("well", text, key=mine), asker.ask("well", text, key=mine)
    assert (first.error, first.tries) == ("", 1)
    if name_of(asker) in RETRY:
        assert (second.error, second.tries) == ("", 2)
        assert time.monotonic() - began >= 3
    else:
        assert (second.error, second.status, second.tries) == ("ResponseError", 429, 1)


@pytest.mark.parametrize(("model", "stream"), [("hang", False), ("hang", True), ("hang_within", True)])
def test_a_client_that_is_out_of_patience_leaves_nothing_running(asker, house, upstream, key, model, stream):
    """Each try that is given up is seen to be given up by the server, within a second."""
    if (name_of(asker), model) == ("JavaScriptOpenAI", "hang_within"):
        pytest.skip("the JavaScript client's time-out ends with the headers: it waits for words for ever")
    text = question()
    outcome = asker.ask(model, text, key=key(), stream=stream, patience=1)
    assert outcome.error in {LATE[name_of(asker)], "ReadTimeout" if model == "hang_within" else ""}
    # Once words have come, no client asks again.
    tries = 3 if name_of(asker) in RETRY and model == "hang" else 1
    assert outcome.tries == len(upstream.arrivals[text]) == tries
    ended = time.monotonic()
    house.wait_until(lambda: upstream.departures[text] == tries, 10)
    assert upstream.left[text] - ended < 1
    house.wait_until(lambda: _active(house, model) == 0, 5)
