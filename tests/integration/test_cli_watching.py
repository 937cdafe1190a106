"""`enginehouse status`, `top`, `logs` and `bench` on a live service."""

import json

import pytest

from tests.integration.command import TerminalSession, run
from tests.integration.openai_server import FakeOpenAI
from tests.integration.service import Service

pytestmark = pytest.mark.integration

NOBODY = {"model": "nobody", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    with FakeOpenAI() as upstream:
        models = {
            "parrot": {"engine": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-none", "slots": 8}
        }
        config = {"data_dir": str(folder / "data"), "default_models": False, "models": models}
        with Service(folder, config) as running:
            yield running


def test_bench_tells_how_soon_it_answers(service):
    done = run("bench", "parrot", "--url", service.url, "-n", 20, "-c", 4, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["completed"], told["errors"], told["output_tokens"]) == (20, {}, 60)
    assert 0 < told["ttft_ms"]["p50"] <= told["latency_ms"]["max"]
    people = run("bench", "parrot", "--url", service.url, "-n", 3)
    assert "4 at once: 3 of 3" in people.stdout
    broken = run("bench", "nobody", "--url", service.url, "-n", 2, "--warmup", 0)
    assert broken.returncode == 1
    assert "does not exist" in broken.stdout.replace("\n", " ")


def test_status_says_how_it_does(service):
    done = run("status", "--url", service.url)
    assert done.returncode == 0, done.stderr
    assert "parrot" in done.stdout
    assert "Errors" in done.stdout
    told = json.loads(run("status", "--url", service.url, "--json").stdout)
    assert told["metrics"]["totals"]["completed"] >= 20
    nobody = run("status", "--url", "http://127.0.0.1:9")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "No service answers" in nobody.stderr


def test_logs_tell_what_becomes_of_requests(service):
    service.call("/v1/chat/completions", NOBODY, {"X-Request-ID": "lost"})
    lines = run("logs", "--url", service.url, "-n", 5).stdout.splitlines()
    assert len(lines) == 5
    assert "model_not_found" in lines[-1]
    assert lines[-1].endswith("lost")
    told = [json.loads(line) for line in run("logs", "--url", service.url, "--json").stdout.splitlines()]
    assert told[-1]["request_id"] == "lost"
    assert run("logs", "parrot", "--url", service.url).stdout == ""


def test_logs_go_on_with_what_comes(service):
    with TerminalSession("logs", "-f", "-n", "1", "--url", service.url) as session:
        session.wait_for("cache=")
        service.call("/v1/chat/completions", NOBODY, {"X-Request-ID": "came"})
        session.wait_for("came")


def test_top_shows_it_once_in_a_pipe_and_as_events(service):
    assert "parrot" in run("top", "--url", service.url).stdout
    events = [
        json.loads(line)
        for line in run("top", "--url", service.url, "--json", "--seconds", 2.5).stdout.splitlines()
    ]
    assert events[0]["event"] == "full_status"
    assert "figures" in {event["event"] for event in events}


def test_top_is_live_on_a_terminal(service):
    with TerminalSession("top", "--url", service.url) as session:
        session.wait_for("First token")
        service.call("/v1/chat/completions", NOBODY, {"X-Request-ID": "seen"})
        session.wait_for(r"model_not_found(.|\n)*model_not_found(.|\n)*model_not_found")
        session.interrupt()
        assert session.exit_code() == 130
