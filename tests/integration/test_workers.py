"""Two processes on one port are one service: what they count, what they share, what they survive, how they end."""

import http.client
import json
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain

import psutil
import pytest
from websockets.sync.client import connect

from tests.integration.service import Service
from tests.integration.test_shared_queues import Upstream

CHAT = "/v1/chat/completions"
ADMIN = {"X-API-Key": "boss"}
SLACK = 5.0
"""Seconds that a busy machine may take until a thing that has happened is seen."""


class Crew:
    """The processes of a service, and ways to reach each of them."""

    def __init__(self, service):
        self.service = service

    def members(self):
        """The owner and the workers, in the order in which they first came."""
        every = [one for one in self.service.children() if "enginehouse.cli.member" in " ".join(one.cmdline())]
        desk = next((one for one in every if _listens_on_desk(one)), None)
        assert desk is not None, "there is an owner"
        return desk, [one for one in every if one.pid != desk.pid]

    def connection(self, process):
        """A connection that this process has accepted."""
        while True:
            made = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
            made.connect()
            port = made.sock.getsockname()[1]
            if _accepted(process, port):
                return made
            made.close()

    def ask(self, process, body, path=CHAT, headers=ADMIN, method="POST"):
        """Status, body and headers of one request to one of them."""
        with closing(self.connection(process)) as made:
            return _asked(made, body, headers, path, method)

    def boss(self, path, body=None, method=None):
        return self.service.call(path, body, ADMIN, method=method)


def _asked(made, body, headers, path=CHAT, method="POST"):
    made.request(method, path, json.dumps(body), {"Content-Type": "application/json", **headers})
    answer = made.getresponse()
    return answer.status, answer.read(), answer.headers


def _listens_on_desk(process):
    return any(one.laddr.endswith("/desk") for one in process.net_connections("unix") if one.laddr)


def _accepted(process, port):
    for _ in range(20):
        if any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp")):
            return True
        time.sleep(0.005)
    return False


def chat(words, model="slow", **more):
    return {"model": model, "messages": [{"role": "user", "content": words}], "stream": True, **more}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def crew(tmp_path_factory, upstream, gguf):
    folder = tmp_path_factory.mktemp("workers")
    elsewhere = {"engine": "openai", "base_url": f"{upstream.url}/v1"}
    config = {
        "data_dir": str(folder / "data"),
        "server": {"workers": 2},
        "models": {
            "slow": {**elsewhere, "slots": 4, "price": {"input_per_1k": "0.1", "output_per_1k": "0.1"}},
            "one": {**elsewhere, "slots": 1},
            "small": {"source": str(gguf), "context_length": 512, "slots": 2},
        },
        "auth": {"api_keys": ["boss"]},
        "registration": {"base_urls": [f"{upstream.url}/v1"]},
        "limits": {"tiers": {"hundred": "100/hour", "two": "2 at once"}},
        "cache": {"enabled": True, "semantic": {"enabled": False}},
    }
    with Service(folder, config) as running:
        made = Crew(running)
        running.wait_until(lambda: '"event":"worker_ready"' in running.log(), 60)
        yield made


def key_of(crew, tier, user="ann"):
    status, made, _ = crew.boss("/v1/keys", {"user_id": user, "tier": tier})
    assert status == 201, made
    return {"X-API-Key": made["key"]}


def test_of_two_hundred_at_once_a_hundred_pass_and_each_is_recorded_once(crew):
    owner, (worker,) = crew.members()
    key = key_of(crew, "hundred", "hundred")

    def ask(number, made):
        with closing(made):
            return [_asked(made, chat(f"h{number}-{turn} 0.01"), key)[0] for turn in range(10)]

    connections = [crew.connection(one) for one in (owner, worker) for _ in range(10)]
    with ThreadPoolExecutor(20) as threads:
        saw = Counter(chain(*threads.map(ask, range(20), connections)))
    assert saw == {200: 100, 429: 100}
    usage = crew.boss("/v1/llm/usage?user_id=hundred")[1]
    assert usage["total_requests"] == 100, usage
    told = crew.boss("/metrics")[1]
    assert f'enginehouse_requests_total{{model="slow",outcome="completed"}} {100.0}' in told


def test_requests_run_in_the_order_in_which_they_came_to_either(crew, upstream):
    both = _both(crew)
    upstream.begin_book()
    with ThreadPoolExecutor(10) as threads:
        asking = []
        for number in range(10):
            body = chat(f"fifo{number} 0.01" if number else "fifo0", "one")
            asking.append(threads.submit(crew.ask, both[number % 2], body))
            _until(lambda number=number: _crowd(crew, "one") == number + 1)
        upstream.let_go()
        assert [one.result()[0] for one in asking] == [200] * 10
    assert upstream.order == [f"fifo{number}" for number in range(10)]
    assert upstream.most == 1


def test_one_engine_is_loaded_for_both_and_both_ask_it(crew):
    with ThreadPoolExecutor(4) as threads:
        body = chat("hi", "small", max_tokens=2)
        answers = list(threads.map(lambda at: crew.ask(_both(crew)[at % 2], body), range(4)))
    assert [answer[0] for answer in answers] == [200] * 4, answers
    engines = [one for one in crew.service.children() if "small" in one.cmdline()]
    assert len(engines) == 1
    assert crew.boss("/v1/status")[1]["models"]["small"]["status"] == "ready"


def test_seats_of_a_caller_are_counted_over_both_and_free_when_it_leaves(crew, upstream):
    key, both = key_of(crew, "two", "seated"), _both(crew)
    upstream.begin_book()
    with closing(crew.connection(both[0])) as first, closing(crew.connection(both[1])) as second:
        for made, words in ((first, "held"), (second, "kept")):
            made.request("POST", CHAT, json.dumps(chat(words)), {"Content-Type": "application/json", **key})
        _until(lambda: _crowd(crew, "slow") == 2)
        assert [crew.ask(one, chat("third 0"), headers=key)[0] for one in both] == [429, 429]
    _until(lambda: crew.ask(both[1], chat("fourth 0"), headers=key)[0] == 200)


def test_a_kept_answer_is_everybodys_and_a_purge_counts_at_once(crew):
    both, body = _both(crew), chat("again 0.05")

    def tier(at):
        return crew.ask(both[at], body)[2]["X-Enginehouse-Cache"]

    assert tier(0) == "miss"
    assert [tier(1), tier(0), tier(1)] == ["exact"] * 3, crew.boss("/v1/cache/stats")[1]
    assert crew.boss("/v1/cache/clear", {})[0] == 200
    assert tier(1) == "miss"
    assert tier(0) == "exact"
    figures = crew.boss("/v1/cache/stats")[1]
    assert figures["exact_hits"] == 4, figures


def test_who_asks_what_the_other_is_just_asked_waits_for_that_answer(crew, upstream):
    both = _both(crew)
    upstream.begin_book()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda at: crew.ask(both[at % 2], chat("same 0.3")), range(6)))
    assert [answer[0] for answer in answers] == [200] * 6
    assert upstream.order == ["same"]


def test_a_revoked_key_and_a_new_model_count_at_once_at_both(crew, upstream):
    both = _both(crew)
    for _ in range(3):
        made = crew.boss("/v1/keys", {"user_id": "eve"})[1]
        key = {"X-API-Key": made["key"]}
        assert [crew.ask(one, chat("known 0"), headers=key)[0] for one in both] == [200, 200]
        assert crew.boss(f"/v1/keys/{made['id']}", method="DELETE")[0] == 200
        assert [crew.ask(one, chat("known 0"), headers=key)[0] for one in both] == [401, 401]
    entry = {"id": "late", "engine": "openai", "base_url": f"{upstream.url}/v1"}
    status, said, _ = crew.boss("/v1/models", entry)
    assert status < 300, said
    assert [crew.ask(one, chat("new 0", "late"))[0] for one in both] == [200, 200]
    assert crew.boss("/v1/models/late", method="DELETE")[0] < 300
    assert [crew.ask(one, chat("new 0", "late"))[0] for one in both] == [404, 404]


def test_all_else_is_the_owners_wherever_it_comes_in(crew):
    owner, (worker,) = crew.members()
    for path in ("/v1/status", "/metrics", "/v1/models", "/console"):
        status, _, headers = crew.ask(worker, None, path, method="GET")
        assert status == 200, path
        assert headers["Connection"] == "close"
    assert crew.ask(worker, {"model": "slow"}, CHAT, method="GET")[0] == 405
    large = {"texts": ["x" * 200_000]}
    assert crew.ask(worker, large, "/nowhere")[0] == 404
    session = {**ADMIN, "X-Session-ID": "nobody-knows-it"}
    said = [crew.ask(one, chat("go 0.05"), headers=session)[0] for one in (owner, worker)]
    assert said == [200, 200]
    with closing(crew.connection(worker)) as made:  # what was asked here before does not matter
        for path, method in ((CHAT, "POST"), ("/ready", "GET")):
            made.request(method, path, json.dumps(chat("hi 0")), {"Content-Type": "application/json", **ADMIN})
            answer = made.getresponse()
            assert (answer.status, answer.read() != b"") == (200, True)


def test_a_websocket_is_the_owners_as_well(crew):
    _, (worker,) = crew.members()
    sock = crew.connection(worker).sock
    with connect(f"ws://127.0.0.1:{crew.service.port}/ws", sock=sock, additional_headers=ADMIN) as talk:
        assert talk.ping().wait(5)


def test_a_worker_that_is_killed_takes_its_own_requests_along_and_leaves_nothing(crew, upstream):
    owner, (worker,) = crew.members()
    key = key_of(crew, "two", "killed")
    upstream.begin_book()
    with closing(crew.connection(worker)) as lost, closing(crew.connection(owner)) as kept:
        for made, words in ((lost, "lost"), (kept, "kept")):
            made.request("POST", CHAT, json.dumps(chat(words)), {"Content-Type": "application/json", **key})
        _until(lambda: _crowd(crew, "slow") == 2)
        worker.send_signal(signal.SIGKILL)
        with pytest.raises((http.client.HTTPException, OSError)):
            lost.getresponse().read()
        _until(lambda: _crowd(crew, "slow") == 1)
        assert crew.ask(owner, chat("beside 0"), headers=key)[0] == 200  # its seat is free
        upstream.let_go()
        assert kept.getresponse().status == 200
    crew.service.wait_until(lambda: len(crew.members()[1]) == 1, 20)
    assert crew.ask(crew.members()[1][0], chat("again 0"))[0] == 200


def test_an_owner_that_is_killed_comes_back_and_who_waited_is_answered(crew, upstream):
    owner, (worker,) = crew.members()
    assert crew.ask(worker, chat("hi", "small", max_tokens=1))[0] == 200
    engines = [one for one in crew.service.children() if "small" in one.cmdline()]
    upstream.begin_book()
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(crew.ask, worker, chat("running", "one"))
        _until(lambda: upstream.order == ["running"])
        waiting = threads.submit(crew.ask, worker, chat("waiting 0", "one"))
        _until(lambda: _crowd(crew, "one") == 2)
        owner.send_signal(signal.SIGKILL)
        owner.wait(20)
        upstream.let_go()
        assert running.result()[0] == 200  # what another server answers goes on
        assert waiting.result()[0] == 200
    assert crew.ask(worker, chat("hi", "small", max_tokens=1))[0] == 200
    _until(lambda: not any(one.is_running() for one in engines))
    fresh, workers = crew.members()
    assert fresh.pid != owner.pid
    assert [one.pid for one in workers] == [worker.pid]


def test_it_ends_in_peace_and_leaves_nobody_behind(tmp_path, upstream):
    elsewhere = {"engine": "openai", "base_url": f"{upstream.url}/v1"}
    config = {"data_dir": str(tmp_path / "data"), "server": {"workers": 2}, "models": {"slow": elsewhere}}
    with Service(tmp_path, config) as own:
        own.wait_until(lambda: '"event":"worker_ready"' in own.log(), 60)
        crew, everybody = Crew(own), own.children()
        owner, (worker,) = crew.members()
        upstream.begin_book()
        with ThreadPoolExecutor(2) as threads:
            asking = [threads.submit(crew.ask, one, chat("last 0.5", stream=True)) for one in (owner, worker)]
            _until(lambda: upstream.order == ["last", "last"])
            own.process.send_signal(signal.SIGTERM)
            answers = [one.result() for one in asking]
        assert [(status, b"[DONE]" in body) for status, body, _ in answers] == [(200, True)] * 2
        assert own.process.wait(20) == 0
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in everybody)


def test_processes_whose_supervisor_is_killed_do_not_stay(tmp_path):
    config = {"data_dir": str(tmp_path / "data"), "server": {"workers": 2}, "models": {}}
    with Service(tmp_path, config) as own:
        own.wait_until(lambda: '"event":"worker_ready"' in own.log(), 60)
        everybody = own.children()
        own.process.kill()
        own.process.wait()
    _, alive = psutil.wait_procs(everybody, 20)
    assert not alive


def test_a_wrong_configuration_is_told_once_and_ends_it(tmp_path):
    config = {"server": {"workers": 2, "host": "0.0.0.0"}, "auth": {"api_keys": []}}
    own = Service(tmp_path, config)
    with pytest.raises(AssertionError, match="ended by itself"):
        own.start()
    assert own.process.returncode == 1
    assert own.log().count("enginehouse: ") == 1


def _both(crew):
    owner, (worker,) = crew.members()
    return owner, worker


def _crowd(crew, model):
    """Requests that run or wait for it."""
    line = crew.boss("/v1/queue/stats")[1]["queues"][model]
    return line["active"] + line["total"]


def _until(condition, seconds=20):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came true"
        time.sleep(0.01)
