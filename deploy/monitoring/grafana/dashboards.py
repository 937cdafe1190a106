"""Writes the Grafana dashboards beside this file: `python deploy/monitoring/grafana/dashboards.py`.

Here a panel is a line; in Grafana's own JSON it is sixty. Names of metrics are those of docs/telemetry.md.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

__all__ = ["DASHBOARDS", "FOLDER", "written"]

FOLDER = Path(__file__).parent / "dashboards"

Json: TypeAlias = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
JOB = 'job=~"$job"'
MODEL = f'{JOB},model=~"$model"'


class Query(NamedTuple):
    """What Prometheus is asked, and what the line is called."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """One picture."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    meaning: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


class Dashboard(NamedTuple):
    """A page of pictures."""

    uid: str
    title: str
    panels: Sequence[Panel]
    by_model: bool = False


def rate(metric: str, by: str, where: str = JOB) -> str:
    """So much a second, by a label."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def total(metric: str, by: str, where: str = JOB) -> str:
    """As it is now, over all replicas, by a label."""
    return f"sum by ({by}) ({metric}{{{where}}})"


def quantile(share: float, metric: str, by: str = "", where: str = JOB) -> str:
    """The value that so many stay below."""
    labels = f"le, {by}" if by else "le"
    inner = f"sum by ({labels}) (rate({metric}_bucket{{{where}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {inner})"


def percentiles(metric: str, where: str = JOB) -> list[Query]:
    """The usual three."""
    return [Query(quantile(share, metric, where=where), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)]


def share_of(part: str, whole: str) -> str:
    """A part of the whole in the last minutes; nothing of nothing is nothing."""
    return f"sum(increase({part}[$__range])) / clamp_min(sum(increase({whole}[$__range])), 1)"


def figure(title: str, expr: str, unit: str = "short", meaning: str = "") -> Panel:
    """One number."""
    return Panel(title, [Query(expr)], unit, meaning, kind="stat", width=4)


def line(
    title: str, expr: str, legend: str, unit: str = "short", meaning: str = "", *, stacked: bool = False
) -> Panel:
    """One query over time; a line for each of its series."""
    return Panel(title, [Query(expr, legend)], unit, meaning, stacked=stacked)


OVERVIEW = Dashboard(
    "enginehouse-overview",
    "Enginehouse: overview",
    [
        figure("Replicas that answer", f"sum(up{{{JOB}}})"),
        figure("Requests a second", f"sum(rate(enginehouse_requests_total{{{JOB}}}[$__rate_interval]))", "reqps"),
        figure(
            "Failed",
            share_of(
                f'enginehouse_requests_total{{{JOB},outcome="failed"}}', f"enginehouse_requests_total{{{JOB}}}"
            ),
            "percentunit",
            "Of all requests in the range that is shown.",
        ),
        figure(
            "Tokens a second",
            f'sum(rate(enginehouse_tokens_total{{{JOB},type="output"}}[$__rate_interval]))',
            meaning="Written by models.",
        ),
        figure(
            "From the cache",
            share_of(
                f'enginehouse_cache_requests_total{{{JOB},tier=~"exact|semantic"}}',
                f'enginehouse_cache_requests_total{{{JOB},tier!="bypass"}}',
            ),
            "percentunit",
        ),
        figure("Cost", f"sum(increase(enginehouse_cost_dollars_total{{{JOB}}}[$__range]))", "currencyUSD"),
        line("Requests", rate("enginehouse_requests_total", "outcome"), "{{outcome}}", "reqps", stacked=True),
        Panel("Time to first token", percentiles("enginehouse_time_to_first_token_seconds"), "s", "Of streams."),
        Panel("Whole request", percentiles("enginehouse_request_seconds"), "s"),
        Panel("Waiting for a slot", percentiles("enginehouse_queue_wait_seconds"), "s"),
        Panel("Waiting for memory", percentiles("enginehouse_load_wait_seconds"), "s"),
        Panel(
            "The service's own time",
            percentiles("enginehouse_gateway_seconds"),
            "s",
            "What neither the line, nor a load, nor the engine took.",
        ),
        line("Errors", rate("enginehouse_errors_total", "code"), "{{code}}", "reqps", stacked=True),
        line("Answers by status", rate("enginehouse_http_responses_total", "status"), "{{status}}", "reqps"),
        Panel(
            "Now",
            [
                Query(f"sum(enginehouse_requests_in_flight{{{JOB}}})", "requests on their way"),
                Query(f"sum(enginehouse_queue_depth{{{JOB}}})", "waiting in lines"),
                Query(f"sum(enginehouse_sockets{{{JOB}}})", "WebSockets"),
                Query(f"sum(enginehouse_chats{{{JOB}}})", "answers in conversations"),
            ],
        ),
        line("Requests by model", rate("router_requests_total", "model, status"), "{{model}} {{status}}", "reqps"),
        line(
            "Processor",
            rate("process_cpu_seconds_total", "instance"),
            "{{instance}}",
            "percentunit",
            "Cores of the service itself.",
        ),
        line(
            "Memory of the service",
            total("process_resident_memory_bytes", "instance"),
            "{{instance}}",
            "bytes",
            "Without its engines' processes.",
        ),
        line("Open files", total("process_open_fds", "instance"), "{{instance}}"),
        line(
            "Versions",
            f"count by (version) (enginehouse_info{{{JOB}}})",
            "{{version}}",
            meaning="More than one while replicas are replaced.",
        ),
        line("Conversations", f"max(enginehouse_sessions{{{JOB}}})", "kept"),
    ],
)

MODELS = Dashboard(
    "enginehouse-models",
    "Enginehouse: models",
    [
        line("Models", total("enginehouse_models", "state"), "{{state}}", stacked=True),
        Panel(
            "Memory that models take",
            [
                Query(total("enginehouse_memory_models_bytes", "memory"), "{{memory}}: models"),
                Query(total("enginehouse_memory_budget_bytes", "memory"), "{{memory}}: budget"),
            ],
            "bytes",
        ),
        Panel(
            "Memory of the machine",
            [
                Query(total("enginehouse_memory_used_bytes", "memory"), "{{memory}}: used"),
                Query(total("enginehouse_memory_total_bytes", "memory"), "{{memory}}: there is"),
            ],
            "bytes",
        ),
        line(
            "By model",
            total("enginehouse_model_memory_bytes", "model, memory", MODEL),
            "{{model}} {{memory}}",
            "bytes",
            stacked=True,
        ),
        line("On graphics processors", total("router_model_vram_bytes", "model", MODEL), "{{model}}", "bytes"),
        line(
            "In memory",
            total("enginehouse_model_ready", "model", MODEL),
            "{{model}}",
            "short",
            "Replicas where it answers.",
        ),
        line(
            "Loads",
            f"sum by (model) (increase(enginehouse_model_loads_total{{{MODEL}}}[$__rate_interval]))",
            "{{model}}",
        ),
        line("The last load", f"max by (model) (enginehouse_model_load_seconds{{{MODEL}}})", "{{model}}", "s"),
        line(
            "Out of memory, why",
            f"sum by (cause) (increase(enginehouse_evictions_total{{{MODEL}}}[$__rate_interval]))",
            "{{cause}}",
            meaning="`room` again and again: models take turns that do not fit together.",
        ),
        line(
            "In line",
            total("enginehouse_queue_depth", "model, priority", MODEL),
            "{{model}} {{priority}}",
            stacked=True,
        ),
        line("Waiting, as the router counts", total("router_queue_depth", "model", MODEL), "{{model}}"),
        Panel(
            "Slots",
            [
                Query(total("enginehouse_queue_active", "model", MODEL), "{{model}}: taken"),
                Query(total("enginehouse_queue_slots", "model", MODEL), "{{model}}: there are"),
            ],
        ),
        line(
            "No slot",
            rate("enginehouse_queue_refused_total", "model, reason", MODEL),
            "{{model}} {{reason}}",
            "reqps",
        ),
        line(
            "Waiting for a slot, p95",
            quantile(0.95, "enginehouse_queue_wait_seconds", "model", MODEL),
            "{{model}}",
            "s",
        ),
        line(
            "Time to first token, p95",
            quantile(0.95, "enginehouse_time_to_first_token_seconds", "model", MODEL),
            "{{model}}",
            "s",
        ),
        line(
            "Between two tokens, p95",
            quantile(0.95, "enginehouse_inter_token_seconds", "model", MODEL),
            "{{model}}",
            "s",
        ),
        line(
            "Tokens a second of one answer, p50",
            quantile(0.5, "enginehouse_output_tokens_per_second", "model", MODEL),
            "{{model}}",
        ),
        line(
            "Estimate above measure",
            f"max by (model) (enginehouse_model_estimate_error_ratio{{{MODEL}}})",
            "{{model}}",
            "percentunit",
            "How far the estimate by its files was off before the first load.",
        ),
        line(
            "Servers left alone",
            f"max by (model, deployment) (enginehouse_breaker_open{{{MODEL}}})",
            "{{deployment}}",
            meaning="1 while a server elsewhere is not asked.",
        ),
    ],
    by_model=True,
)

MONEY = Dashboard(
    "enginehouse-usage",
    "Enginehouse: usage, cache and records",
    [
        line(
            "Dollars an hour",
            f"3600 * {rate('enginehouse_cost_dollars_total', 'model', MODEL)}",
            "{{model}}",
            "currencyUSD",
            stacked=True,
        ),
        line("Tokens a second", rate("enginehouse_tokens_total", "type", MODEL), "{{type}}", stacked=True),
        line(
            "Tokens a second by model", rate("enginehouse_tokens_total", "model", MODEL), "{{model}}", stacked=True
        ),
        line(
            "Without a price",
            rate("enginehouse_unpriced_requests_total", "model", MODEL),
            "{{model}}",
            "reqps",
            "Their cost is unknown, not nothing: give them a price.",
        ),
        line("Answers from", rate("enginehouse_cache_requests_total", "tier"), "{{tier}}", "reqps", stacked=True),
        line("Over a limit or a budget", rate("enginehouse_limits_refused_total", "code"), "{{code}}", "reqps"),
        Panel(
            "Records that wait",
            [
                Query(total("enginehouse_ledger_waiting_records", "instance"), "{{instance}}: in memory"),
                Query(total("enginehouse_ledger_spooled_records", "instance"), "{{instance}}: on the disk"),
            ],
            meaning="On the disk: the database is away.",
        ),
        line("Spool", total("enginehouse_ledger_spool_bytes", "instance"), "{{instance}}", "bytes"),
        Panel(
            "Records in danger",
            [
                Query(f"max(enginehouse_ledger_refusing{{{JOB}}})", "requests are refused"),
                Query(
                    f"sum(increase(enginehouse_telemetry_dropped_total{{{JOB}}}[$__rate_interval]))",
                    "traces dropped",
                ),
                Query(f"sum(increase(enginehouse_ledger_lost_records_total{{{JOB}}}[$__rate_interval]))", "lost"),
            ],
        ),
        line("Points of collections", rate("enginehouse_vector_points_total", "what"), "{{what}}", "ops"),
    ],
    by_model=True,
)

CLASSIFIERS = Dashboard(
    "enginehouse-classifiers",
    "Enginehouse: classifiers and the guard",
    [
        figure("Models", f"sum(model_cache_models_total{{{JOB}}})"),
        figure("In memory", f"sum(model_cache_models_cached{{{JOB}}})"),
        figure("Hit rate", f"avg(model_cache_hit_rate{{{JOB}}})", "percentunit"),
        figure("Memory", f"max(model_cache_memory_usage_percentage{{{JOB}}})", "percent"),
        figure("Mean inference", f"avg(model_cache_inference_time_ms{{{JOB}}})", "ms"),
        figure("Predictions remembered", f"sum(enginehouse_predictions_remembered{{{JOB}}})"),
        line("Inferences", rate("model_cache_inferences_total", "instance"), "{{instance}}", "ops"),
        Panel(
            "Found in memory, or not",
            [
                Query(rate("model_cache_cache_hits_total", "instance"), "{{instance}}: found"),
                Query(rate("model_cache_cache_misses_total", "instance"), "{{instance}}: loaded"),
            ],
            "ops",
        ),
        line("Memory of models", total("model_cache_memory_usage_mb", "instance"), "{{instance}}", "mbytes"),
        Panel(
            "Clean-ups",
            [
                Query(f"sum(increase(model_cache_cleanup_events_total{{{JOB}}}[$__rate_interval]))", "clean-ups"),
                Query(f"sum(increase(model_cache_memory_cleanup_mb{{{JOB}}}[$__rate_interval]))", "MB freed"),
            ],
        ),
        Panel(
            "Predictions",
            [
                Query(rate("enginehouse_prediction_hits_total", "instance"), "{{instance}}: remembered"),
                Query(
                    rate("enginehouse_prediction_misses_total", "instance"), "{{instance}}: asked of a classifier"
                ),
            ],
            "ops",
        ),
        line(
            "The guard",
            rate("enginehouse_guard_total", "mode, outcome"),
            "{{mode}}: {{outcome}}",
            "reqps",
            stacked=True,
        ),
    ],
)

DASHBOARDS = {"overview": OVERVIEW, "models": MODELS, "usage": MONEY, "classifiers": CLASSIFIERS}
"""By the name of the file."""


def written(dashboard: Dashboard) -> str:
    """A dashboard as Grafana reads it."""
    return json.dumps(_dashboard(dashboard), indent=2) + "\n"


def _dashboard(dashboard: Dashboard) -> Json:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["enginehouse"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 41,
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "title": "Enginehouse", "tags": ["enginehouse"], "asDropdown": True}],
        "templating": {"list": _variables(dashboard)},
        "panels": _laid_out(dashboard.panels),
    }


def _variables(dashboard: Dashboard) -> list[Json]:
    variables = [
        {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus"},
        _labels("job", "Job", "label_values(enginehouse_info, job)"),
    ]
    if dashboard.by_model:
        variables.append(_labels("model", "Model", 'label_values(enginehouse_queue_slots{job=~"$job"}, model)'))
    return variables


def _labels(name: str, label: str, query: str) -> Json:
    choice = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        **choice,
    }


def _laid_out(panels: Sequence[Panel]) -> list[Json]:
    """From left to right, and on in the next row."""
    laid, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > WIDTH or (row and height != row):
            x, y = 0, y + row
        row = height
        laid.append({**_panel(number, panel), "gridPos": {"x": x, "y": y, "w": panel.width, "h": height}})
        x += panel.width
    return laid


def _panel(number: int, panel: Panel) -> Json:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend}
        for index, query in enumerate(panel.queries)
    ]
    custom = {"custom": {"fillOpacity": 10, "stacking": {"mode": "normal" if panel.stacked else "none"}}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, **(custom if panel.kind == "timeseries" else {})},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if panel.kind == "stat" else {},
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(written(dashboard))
