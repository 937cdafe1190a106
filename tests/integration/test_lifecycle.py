"""What must hold when things end: kills, stops, hang-ups, herds."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.integration.service import Service, Stream

STORY = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Tell a very long story."}],
    "stream": True,
    "max_tokens": 2000,
    "ignore_eos": True,
}
CHAT = "/v1/chat/completions"


@pytest.fixture
def streaming(own):
    """A story under way on the test's own service."""
    with Stream(own, CHAT, STORY) as stream:
        stream.read_until(b'"content":"')
        yield stream


@pytest.fixture
def own(tmp_path, service):
    """A service of the test's own; `service` has fetched the models already."""
    with Service(tmp_path) as running:
        yield running


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_kill_9_leaves_no_child_and_the_next_start_works(own, streaming):
    children = own.children()
    assert children
    own.process.kill()
    own.process.wait()
    deadline = time.monotonic() + 5
    while not all(gone(child) for child in children):
        assert time.monotonic() < deadline, children
        time.sleep(0.02)
    own.start()
    status, _, _ = own.call(CHAT, {**STORY, "stream": False, "max_tokens": 2})
    assert status == 200


def test_kill_9_of_the_service_while_the_engine_is_stopped(own, streaming):
    """A child that cannot run (here: SIGSTOP) dies all the same: the kernel does it."""
    child = own.children()[0]
    child.suspend()
    own.process.kill()
    own.process.wait()
    deadline = time.monotonic() + 5
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_lets_a_stream_end_and_exits_0(own):
    with Stream(own, CHAT, {**STORY, "max_tokens": 40}) as stream:
        stream.read_until(b'"content":"')
        children = own.children()
        own.process.send_signal(signal.SIGTERM)
        received = stream.read_to_end()
    assert received.count(b'"content":"') > 20
    assert b'"finish_reason":"length"' in received
    assert b"data: [DONE]" in received
    assert own.process.wait(20) == 0
    assert all(gone(child) for child in children)


def test_an_idle_service_stops_at_once(own):
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(5) == 0


def test_a_second_signal_cuts_streams_off(own, streaming):
    own.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert own.process.poll() is None
    own.process.send_signal(signal.SIGINT)
    assert own.process.wait(15) == 0
    assert "ledger_record_lost" not in own.log(), "what was cut off is recorded all the same"


LONG_PROMPT = {**STORY, "messages": [{"role": "user", "content": "word and word " * 2000}], "max_tokens": 400}


@pytest.mark.parametrize(
    ("body", "pause"),
    [
        pytest.param(STORY, 1.0, id="while streaming"),
        pytest.param({**STORY, "stream": False}, 1.0, id="while waiting for a body"),
        pytest.param(LONG_PROMPT, 1.0, id="while a long prompt is read"),
        pytest.param({**LONG_PROMPT, "stream": False}, 1.0, id="while a long prompt is read for a body"),
    ],
)
def test_a_caller_who_hangs_up_frees_the_slot(service, body, pause):
    child = max(service.children(), key=lambda process: process.memory_info().rss)
    stream = Stream(service, CHAT, body)
    service.wait_until(lambda: service.status("smollm2")["active_requests"] == 1, 10)
    time.sleep(pause)
    stream.hang_up()
    assert service.wait_until(lambda: service.status("smollm2")["active_requests"] == 0, 5) < 1
    # The engine itself must have stopped too: its processor time stands still.
    service.wait_until(lambda: _is_idle(child), 10)
    began = time.monotonic()
    assert service.call(CHAT, {**STORY, "stream": False, "max_tokens": 1})[0] == 200
    assert time.monotonic() - began < 10


def _is_idle(child: psutil.Process) -> bool:
    before = sum(child.cpu_times()[:2])
    time.sleep(0.2)
    return sum(child.cpu_times()[:2]) - before < 0.05


def test_fifty_first_requests_cause_one_load(own):
    body = {**STORY, "stream": False, "max_tokens": 1}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: own.call(CHAT, body, timeout=120), range(50)))
    assert [status for status, _, _ in answers] == [200] * 50
    assert own.log_file.read_text().count('"what":"loads"') == 1
    assert len(own.children()) == 1


def test_an_engine_that_crashes_mid_stream_is_an_error_frame_and_comes_back(own, streaming):
    os.kill(own.children()[0].pid, signal.SIGKILL)
    received = streaming.read_to_end()
    assert b"data: [DONE]" not in received
    assert b'"code":"upstream_died"' in received
    assert own.call(CHAT, {**STORY, "stream": False, "max_tokens": 1})[0] == 200


def test_idle_models_leave_memory(tmp_path, service):
    with Service(tmp_path, {"residency": {"idle_timeout": 0.5}}) as own:
        assert own.call(CHAT, {**STORY, "stream": False, "max_tokens": 1})[0] == 200
        own.wait_until(lambda: not own.children(), 10)
        assert own.status("smollm2")["status"] == "off"
        assert own.call(CHAT, {**STORY, "stream": False, "max_tokens": 1})[0] == 200
