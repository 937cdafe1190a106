"""Renders and lints the Helm chart, in a process of its own: Helm's Go runtime brings signal handlers.

python -m tests.integration.charts < values.json > what_came_of_it.json
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/enginehouse"


def rendered(values: dict, *, name: str = "house") -> list[dict]:
    """Every object of the chart under these values."""
    answer = _ask({"values": values, "name": name})
    assert "error" not in answer, answer["error"]
    documents = (yaml.safe_load_all(text) for path, text in answer["manifests"].items() if path.endswith(".yaml"))
    return [document for several in documents for document in several if document]


def refusal(values: dict) -> str:
    """Why the chart refuses these values."""
    answer = _ask({"values": values, "name": "house"})
    assert "error" in answer, "it was rendered"
    return answer["error"]


def linted(values: dict) -> list[dict]:
    """What `helm lint --strict` finds."""
    return _ask({"values": values, "lint": True})["messages"]


def _ask(question: dict) -> dict:
    command = [sys.executable, "-m", "tests.integration.charts"]
    done = subprocess.run(
        command, input=json.dumps(question), text=True, capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _answer(question: dict) -> dict:
    import helm_python

    if question.get("lint"):
        return helm_python.lint(CHART, question["values"], strict=True)
    try:
        with helm_python.Chart.load(CHART) as chart:
            values = chart.merge_values(question["values"])
            chart.validate_schema(question["values"])
            return {"manifests": chart.render(values, name=question["name"], namespace="models")}
    except helm_python.HelmError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
