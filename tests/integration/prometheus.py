"""A real Prometheus that scrapes a live service; for tests, where Debian's package is installed."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tests.integration.service import free_port

RULES = Path(__file__).parents[2] / "deploy" / "monitoring"


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

    def values(self, query):
        """All values of a query, of every series."""
        found = self._get("query?" + urllib.parse.urlencode({"query": query}))["result"]
        return [float(series["value"][1]) for series in found]

    def rules(self):
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
