"""Real child processes that misbehave, and what the house makes of them."""

import json
import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.integration.children import Children, runs, timed

NAMES = (
    *("deaf", "neighbour", "broken", "hungry", "killed", "starving", "crashing", "stumbling", "silent", "stalling"),
    *("reading", "slow", "stuck", "dumb", "awaited", "left", "growing", "idle", "bound", "stranger", "keyless"),
    *("impostor", "usurper", "steady", "edited"),
    *("robbed-any-false", "robbed-any-true", "robbed-its-false", "robbed-its-true"),
)
SPECIAL = {
    "silent": {"slots": 2},
    "stalling": {"slots": 2},
    "stuck": {"slots": 2, "request_timeout": 2},
    "left": {"slots": 1},
}
MODELS = {name: SPECIAL.get(name, {}) for name in NAMES}
DONE = b"data: [DONE]"
CUDA = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 355 MiB on device 0: cudaMalloc failed: out of memory",
    "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with Children(tmp_path_factory.mktemp("children"), MODELS) as running:
        yield running


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(8) as threads:
        yield threads


def error_of(answer):
    status, body, headers = answer
    return status, body["error"]["code"], body["error"]["message"], headers


def test_a_child_that_ignores_sigterm_holds_nobody_up_and_is_killed_with_its_group(house, pool):
    house.script("deaf", term="ignore", grandchild=True)
    assert house.ask("deaf")[0] == house.ask("neighbour")[0] == 200
    child = house.lives("deaf")[-1]
    group = [child, *(process.pid for process in psutil.Process(child).children(recursive=True))]
    assert len(group) == 2
    undisturbed = [seconds_of_an_answer(house, "neighbour") for _ in range(30)]
    unloading = pool.submit(timed, lambda: house.call("/v1/models/deaf/unload", {}))
    meanwhile = []
    while not unloading.done():
        meanwhile.append(seconds_of_an_answer(house, "neighbour"))
    (status, *_), seconds = unloading.result()
    assert (status, seconds > 0.9) == (200, True)
    assert len(meanwhile) > 3
    assert p99(meanwhile) < p99(undisturbed) + 0.2  # what a busy machine may do, and far less than the grace
    house.gone(*group, within=1)


def seconds_of_an_answer(house, model):
    (status, *_), seconds = timed(lambda: house.ask(model))
    assert status == 200
    return seconds


def p99(seconds):
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1]


def test_a_failed_load_tells_all_waiters_why_and_is_not_tried_again_at_once(house, pool):
    house.script("broken", load={"seconds": 0.3, "words": ["error loading model: bad magic"], "exit": 1})
    asking = [pool.submit(timed, lambda: house.ask("broken")) for _ in range(3)]
    for done in asking:
        answer, seconds = done.result()
        status, code, message, headers = error_of(answer)
        assert (status, code) == (503, "model_load_failed")
        assert "bad magic" in message
        assert 0 < int(headers["Retry-After"]) <= 10
        assert seconds < 0.3 + 1 + 1  # the load, the bound, and the start of a program on a busy machine
    again, seconds = timed(lambda: house.ask("broken"))
    assert error_of(again)[:2] == (503, "model_load_failed")
    assert seconds < 0.5
    assert len(house.lives("broken")) == 1


@pytest.mark.parametrize(
    ("model", "end"),
    [("hungry", {"words": CUDA, "exit": 1}), ("killed", {"kill": True})],
    ids=["in its own words", "by the kernel"],
)
def test_out_of_memory_at_load_is_tried_once_more_and_others_stay(house, model, end):
    assert house.ask("neighbour")[0] == 200
    neighbour = house.lives("neighbour")
    house.script(model, lives=[{"load": end}, {}])
    assert house.ask(model)[0] == 200
    assert len(house.lives(model)) == 2
    assert "Memory ran out while it loaded with 8 MiB" in house.log()
    assert house.lives("neighbour") == neighbour
    assert runs(neighbour[-1])


def test_out_of_memory_twice_is_told_and_the_raise_is_remembered(house):
    house.script("starving", load={"words": CUDA, "exit": 1})
    status, code, message, _ = error_of(house.ask("starving"))
    assert (status, code) == (503, "model_load_failed")
    assert "Memory ran out" in message
    assert "cudaMalloc failed" in message
    assert len(house.lives("starving")) == 2
    assert round(8 * 1.1 + 64) in {round(size / 1024 / 1024) for size in remembered(house)}


def test_a_crash_mid_stream_is_an_error_frame_and_the_third_opens_the_breaker(house):
    house.script("crashing", answer={"crash_after": 2})
    for life in (1, 2, 3):
        with house.stream("crashing") as stream:
            received = stream.read_to_end()
        assert b'"content": "1 "' in received
        assert DONE not in received
        frame = received[received.index(b'data: {"error"') :].split(b"\n\n")[0]
        assert json.loads(frame.removeprefix(b"data: "))["error"]["code"] == "upstream_died"
        assert len(house.lives("crashing")) == life
        house.wait_until(lambda: house.status("crashing")["status"] == "failed", 5)
    status, code, _, headers = error_of(house.ask("crashing"))
    assert (status, code) == (503, "model_load_failed")
    assert 0 < int(headers["Retry-After"]) <= 10
    assert len(house.lives("crashing")) == 3


def test_a_crash_before_the_first_byte_is_not_seen_by_callers(house, pool):
    house.script("stumbling", lives=[{"answer": {"crash": True}}, {}])
    answers = [done.result() for done in [pool.submit(house.ask, "stumbling") for _ in range(4)]]
    assert [status for status, *_ in answers] == [200] * 4
    assert len(house.lives("stumbling")) == 2


def test_a_healthy_but_silent_engine_is_replaced_and_callers_do_not_see_it(house, pool):
    house.script("silent", lives=[{"answer": {"silent": True}, "term": "ignore"}, {}])
    answers = [done.result() for done in [pool.submit(house.ask, "silent") for _ in range(2)]]
    assert [status for status, *_ in answers] == [200] * 2
    assert len(house.lives("silent")) == 2
    house.gone(house.lives("silent")[0], within=1)


def test_who_had_bytes_of_a_wedged_engine_gets_an_error_frame_and_who_had_none_an_answer(house, pool):
    house.script("stalling", answer={"stall_after": 2, "tokens": 9})
    with house.stream("stalling") as stream:
        stream.read_until(b'"content": "1 "')
        house.script("stalling", lives=[{"answer": {"silent": True}}, {}])
        other = pool.submit(house.ask, "stalling")
        received = stream.read_to_end()
    assert b'"code":"upstream_died"' in received
    assert DONE not in received
    assert other.result()[0] == 200


def test_a_slow_prefill_is_spared(house):
    house.script("reading", answer={"prefill": 30, "prefill_pause": 0.1})
    (status, *_), seconds = timed(lambda: house.ask("reading"))
    assert status == 200
    assert seconds > 2 * 1.0  # more than the limit of silence
    assert len(house.lives("reading")) == 1


def test_a_request_that_is_stuck_beside_others_times_out_alone(house, pool):
    house.script("stuck", answer={"prefill": 40, "prefill_pause": 0.1})
    with house.stream("stuck") as stream:
        house.wait_until(lambda: house.count("stuck", "asked") == 1, 5)
        house.script("stuck", answer={"silent": True})
        status, code, *_ = error_of(house.ask("stuck"))
        assert (status, code) == (504, "upstream_timeout")
        assert DONE in stream.read_to_end()
    assert len(house.lives("stuck")) == 1


def test_a_slow_load_that_moves_succeeds_and_one_that_stalls_is_killed(house, pool):
    house.script("slow", load={"seconds": 2.5, "signs": True})
    house.script("dumb", load={"hang": True}, term="ignore")
    slow = pool.submit(house.ask, "slow")
    status, code, message, _ = error_of(house.ask("dumb"))
    assert (status, code) == (504, "load_timeout")
    assert "sign of progress" in message
    house.gone(*house.lives("dumb"), within=1)
    assert slow.result()[0] == 200


def test_who_leaves_a_load_does_not_stop_it_for_others(house, pool):
    house.script("awaited", load={"seconds": 0.8, "signs": True})
    first = house.stream("awaited")
    house.wait_until(lambda: house.status("awaited")["status"] == "loading", 5)
    second = pool.submit(house.ask, "awaited")
    time.sleep(0.2)
    first.hang_up()
    assert second.result()[0] == 200
    assert len(house.lives("awaited")) == 1


def test_who_leaves_the_queue_or_a_stream_is_gone_at_once(house):
    house.script("left", answer={"tokens": 1000, "pause": 0.05})
    with house.stream("left") as running:
        running.read_until(b'"content": "1 "')
        with house.stream("left"):
            house.wait_until(lambda: depth(house, "left") == (1, 1), 5)
        _, asking = timed(lambda: depth(house, "left"))
        assert house.wait_until(lambda: depth(house, "left") == (1, 0), 5) < 0.1 + 2 * asking
        assert house.count("left", "asked") == 1
    assert house.wait_until(lambda: depth(house, "left") == (0, 0), 5) < 1
    house.wait_until(lambda: house.count("left", "left") == 1, 2)


def depth(house, model):
    line = house.call("/v1/queue/stats")[1]["queues"][model]
    return line["active"], line["total"]


def test_growth_is_measured_again(house):
    assert house.ask("growing")[0] == 200
    house.script("growing", answer={"grow": 100})
    assert house.ask("growing")[0] == 200
    house.wait_until(lambda: max(remembered(house)) > 100 * 1024 * 1024, 5)


def remembered(house):
    """Bytes of main memory, by whatever was measured."""
    known = json.loads((house.scripts / "data" / "footprints.json").read_text())
    return [size["ram"] for size in known.values()]


@pytest.mark.parametrize(
    ("model", "manner"),
    [
        ("bound", {"load": {"words": ["start: couldn't bind HTTP server socket"], "exit": 1}}),
        ("stranger", {"keys": "any"}),
        ("keyless", {"keys": "none"}),
        ("impostor", {"alias": "somebody-else"}),
    ],
)
def test_who_does_not_answer_as_our_child_is_never_used_and_the_port_is_tried_elsewhere(house, model, manner):
    house.script(model, lives=[manner, {}])
    assert house.ask(model)[0] == 200
    assert len(house.lives(model)) == 2
    assert house.count(model, "asked") == 1
    house.gone(house.lives(model)[0], within=1)


@pytest.mark.parametrize("keys", ["any", "its own"])
@pytest.mark.parametrize("stays", [False, True], ids=["our child ends", "our child still loads"])
def test_a_server_of_somebody_elses_on_the_childs_port_is_never_used_nor_harmed(house, keys, stays):
    model, thief = f"robbed-{keys[:3]}-{stays}".lower(), f"thief-{keys[:3]}-{stays}".lower()
    house.script(thief, keys=keys)
    house.script(model, lives=[{"robbed": {"by": str(house.scripts / f"{thief}.json"), "stays": stays}}, {}])
    try:
        assert house.ask(model)[0] == 200
        assert len(house.lives(model)) == 2
        assert house.count(model, "asked") == 1
        assert house.count(thief, "asked") == 0
        assert runs(house.lives(thief)[0])
        house.gone(house.lives(model)[0], within=1)
    finally:
        os.kill(house.lives(thief)[0], signal.SIGKILL)


def test_a_stranger_on_every_port_is_a_failed_load(house):
    house.script("usurper", keys="any")
    status, code, message, _ = error_of(house.ask("usurper"))
    assert (status, code) == (503, "model_load_failed")
    assert "port" in message
    assert house.count("usurper", "asked") == 0
    house.gone(*house.lives("usurper"), within=1)


def test_an_edit_of_one_model_leaves_the_stream_and_process_of_another_alone(house):
    house.script("steady", answer={"tokens": 60, "pause": 0.05})
    assert house.ask("edited")[0] == 200
    before = house.lives("edited")[-1]
    with house.stream("steady") as stream:
        stream.read_until(b'"content": "1 "')
        house.configure(house.settings_of({**MODELS, "edited": {"context_length": 1024}}))
        house.gone(before)
        assert house.ask("edited")[0] == 200
        assert house.status("steady")["active_requests"] == 1
        received = stream.read_to_end()
    assert b'"content": "59 "' in received
    assert DONE in received
    assert len(house.lives("steady")) == 1
    assert len(house.lives("edited")) == 2
    assert house.ask("steady")[0] == 200
    assert len(house.lives("steady")) == 1


def test_sigterm_drains_even_when_the_child_is_deaf(tmp_path):
    with Children(tmp_path, {"last": {}}, stop_grace=0.5) as own:
        own.script("last", answer={"tokens": 30, "pause": 0.05}, term="ignore", grandchild=True)
        with own.stream("last") as stream:
            stream.read_until(b'"content": "1 "')
            children = [child.pid for child in own.children()]
            assert len(children) == 2
            own.process.send_signal(signal.SIGTERM)
            received = stream.read_to_end()
        assert b'"content": "29 "' in received
        assert DONE in received
        assert own.process.wait(10) == 0
        assert not any(map(runs, children))
