"""A real Prometheus scrapes a live service; its own tool reads the text and runs the alert rules' unit tests."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.integration.openai_server import FakeOpenAI
from tests.integration.service import Service, free_port

RULES = Path(__file__).parents[2] / "deploy" / "monitoring"
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


class Prometheus:
    """One of our own, on a free port, that scrapes every second."""

    def __init__(self, target: int, folder: Path):
        self.port = free_port()
        self.folder = folder
        scrape = {"job_name": "enginehouse", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES / "alerts.yaml")],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))

    def __enter__(self):
        log = (self.folder / "prometheus.log").open("wb")
        options = {
            "config.file": self.folder / "prometheus.yml",
            "storage.tsdb.path": self.folder / "data",
            "web.listen-address": f"127.0.0.1:{self.port}",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        deadline = time.monotonic() + 30
        while self.ask("up") != 1:
            assert time.monotonic() < deadline, (self.folder / "prometheus.log").read_text()
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def ask(self, query):
        """The one value of a query; None when there is none yet."""
        try:
            found = self._get("query?" + urllib.parse.urlencode({"query": query}))["result"]
        except OSError:
            return None
        return float(found[0]["value"][1]) if found else None

    def rules(self):
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
