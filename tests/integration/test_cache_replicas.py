"""Two services on one Redis: shared answers, purges heard within a second, verdicts that outlive a kill."""

import json
import signal
import time
import urllib.error
import urllib.request

import pytest

from tests.integration.redis_server import RedisServer
from tests.integration.service import Service
from tests.integration.upstream import Upstream

CHAT = "/v1/chat/completions"
CONFIG = {
    "default_models": False,
    "auth": {"key_secret": "k" * 40, "api_keys": ["boss"]},
    "cache": {"enabled": True},
}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


def service(folder, upstream, redis=None):
    model = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
    stores = {} if redis is None else {"stores": {"redis_url": redis.url}}
    return Service(folder, {**CONFIG, **stores, "models": {"m": model}, "data_dir": str(folder)})


@pytest.fixture(scope="module")
def pair(upstream, redis, tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    with service(folders[0], upstream, redis) as here, service(folders[1], upstream, redis) as there:
        yield here, there


def call(house, path, body=None, **headers):
    """Headers and JSON."""
    data = None if body is None else json.dumps(body).encode()
    said = {"Content-Type": "application/json", "Authorization": "Bearer boss", **headers}
    with urllib.request.urlopen(urllib.request.Request(house.url + path, data, said), timeout=20) as answer:
        return answer.headers, json.loads(answer.read())


def ask(house, text, **headers):
    """Which cache it comes from."""
    body = {"model": "m", "messages": [{"role": "user", "content": f"text {text}"}]}
    return call(house, CHAT, body, **headers)[0]["X-Enginehouse-Cache"]


def test_what_one_has_asked_the_other_need_not_ask(pair):
    here, there = pair
    assert ask(here, "shared") == "miss"
    assert ask(there, "shared") == "exact"
    assert call(there, "/v1/cache/stats")[1]["backend"] == "redis"


@pytest.mark.parametrize("which", [{}, {"model": "m"}, {"tier": "l1"}, {"tag": "t"}])
def test_a_purge_is_seen_by_both_within_a_second(pair, which):
    here, there = pair
    text = f"purged {which}"
    headers = {"X-Enginehouse-Cache-Tags": "t"}
    assert ask(here, text, **headers) == "miss"
    assert ask(there, text) == "exact"
    assert call(here, "/v1/cache/clear", which)[1]["status"] == "ok"
    asked = {"Cache-Control": "no-store"}
    assert ask(here, text, **asked) == "miss"
    time.sleep(1)
    assert ask(there, text, **asked) == "miss"


def test_a_verdict_is_heard_by_both(pair):
    here, there = pair
    assert ask(here, "judged") == "miss"
    assert ask(there, "judged", **{"X-Request-ID": "judged-1"}) == "exact"
    call(there, "/v1/cache/feedback", {"request_id": "judged-1", "verdict": "wrong"})
    time.sleep(1)
    assert [ask(one, "judged") for one in (here, there, here)] == ["miss"] * 3


def test_a_redis_that_goes_away_leaves_misses(upstream, tmp_path):
    folder = tmp_path / "alone"
    folder.mkdir()
    with RedisServer(tmp_path) as redis, service(folder, upstream, redis) as house:
        assert [ask(house, "away") for _ in range(2)] == ["miss", "exact"]
        redis.stop()
        assert ask(house, "away") == "miss"
        assert call(house, "/v1/cache/stats")[1]["status"] == "degraded"
        redis.start()
        house.wait_until(lambda: ask(house, "back again") == "exact", 20)


def test_a_verdict_outlives_a_kill_and_what_is_left_is_whole(upstream, tmp_path):
    house = service(tmp_path, upstream)
    with house:
        assert [ask(house, "killed", **{"X-Request-ID": "k1"}) for _ in range(2)] == ["miss", "exact"]
        call(house, "/v1/cache/feedback", {"request_id": "k1", "verdict": "wrong"})
        house.process.send_signal(signal.SIGKILL)
        house.process.wait()
    with house:
        assert [ask(house, "killed") for _ in range(2)] == ["miss", "miss"]
        assert [ask(house, "well") for _ in range(2)] == ["miss", "exact"]


def test_answers_in_redis_outlive_a_kill(upstream, redis, tmp_path):
    house = service(tmp_path, upstream, redis)
    with house:
        for number in range(20):
            ask(house, f"kept {number}")
        house.process.send_signal(signal.SIGKILL)
        house.process.wait()
    with house:
        assert {ask(house, f"kept {number}") for number in range(20)} == {"exact"}


def test_wrong_words_are_told(pair):
    here, _ = pair
    for path, body, status in (
        ("/v1/cache/clear", {"tier": "third"}, 400),
        ("/v1/cache/clear", {"odd": 1}, 400),
        ("/v1/cache/feedback", {"request_id": "nobody", "verdict": "wrong"}, 404),
        ("/v1/cache/feedback", {"request_id": "nobody", "verdict": "right"}, 400),
        ("/v1/cache/explain?request_id=nobody", None, 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            call(here, path, body)
        assert refused.value.code == status, path
        refused.value.close()


def test_why_it_was_so_can_be_asked(pair):
    here, _ = pair
    ask(here, "why", **{"X-Request-ID": "why-1"})
    told = call(here, "/v1/cache/explain?request_id=why-1")[1]
    assert (told["outcome"], told["model"]) == ("miss", "m")
    headers, _ = call(here, CHAT, {"model": "m", "messages": [{"role": "user", "content": "text why"}]})
    assert (headers["X-Enginehouse-Cache"], headers["Age"]) == ("exact", "0")
