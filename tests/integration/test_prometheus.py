"""A real Prometheus scrapes a live service; its own tool reads the text and runs the alert rules' unit tests."""

import shutil
import subprocess

import pytest

from tests.integration.openai_server import FakeOpenAI
from tests.integration.prometheus import RULES, Prometheus
from tests.integration.service import Service

NEEDS = "Debian's package prometheus is not installed"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not (shutil.which("prometheus") and shutil.which("promtool")), reason=NEEDS),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service that has answered, refused and failed."""
    folder = tmp_path_factory.mktemp("scraped")
    with FakeOpenAI() as upstream:
        models = {"parrot": {"engine": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-none"}}
        config = {"data_dir": str(folder / "data"), "default_models": False, "models": models}
        with Service(folder, config) as running:
            for question, stream in (("Hello", False), ("Hello", True), ("refuse", False)):
                said = {"model": "parrot", "stream": stream, "messages": [{"role": "user", "content": question}]}
                running.call("/v1/chat/completions", said)
            running.call("/v1/chat/completions", {"model": "nobody", "messages": []})
            yield running


def promtool(*arguments, text=None):
    command = ["promtool", *arguments]
    found = subprocess.run(command, check=False, input=text, capture_output=True, text=True, timeout=60)
    return found.returncode, found.stdout + found.stderr


def test_its_own_tool_finds_nothing_wrong_with_the_text(service):
    text = service.call("/metrics")[1]
    code, said = promtool("check", "metrics", text=text)
    complaints = [line for line in said.splitlines() if not line.startswith(("model_cache_", "process_"))]
    assert complaints == [], said
    assert code in (0, 3), "3 is advice: on the documented names of the model cache, which are not ours to choose"


def test_the_alert_rules_do_what_they_say():
    code, said = promtool("check", "rules", str(RULES / "alerts.yaml"))
    assert code == 0, said
    code, said = promtool("test", "rules", str(RULES / "alerts.test.yaml"))
    assert code == 0, said


def test_it_scrapes_a_live_service_and_knows_every_name_the_rules_use(service, tmp_path):
    with Prometheus(service.port, tmp_path) as prometheus:
        assert prometheus.ask('router_requests_total{model="parrot",status="success"}') == 2
        assert prometheus.ask('router_requests_total{model="parrot",status="error"}') == 1
        assert prometheus.ask('router_requests_total{model="unknown",status="error"}') == 1
        assert prometheus.ask('enginehouse_time_to_first_token_seconds_count{model="parrot"}') == 1
        assert prometheus.ask('enginehouse_breaker_open{model="parrot"}') == 0
        assert prometheus.ask("process_resident_memory_bytes") > 1e6
        assert prometheus.ask("model_cache_models_total") == 1
        states = {rule["name"]: rule["health"] for rule in prometheus.rules()}
        assert len(states) == 13
        assert set(states.values()) <= {"ok", "unknown"}
