"""Telemetry of a live service: no secret in its log, a request on every line, and a collector that hears of all."""

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.openai_server import FakeOpenAI
from tests.integration.service import Service, Stream

ADMIN, UPSTREAM = "admin-key-that-nobody-may-read-0123", "sk-upstream-that-nobody-may-read-0123"
SIGNED = "a secret that signs tokens and that nobody may read"
COLLECTOR = "collector-key-that-nobody-may-read"
TRACE = "0af7651916cd43dd8448eb211c80319c"

pytestmark = pytest.mark.integration


class Collector(ThreadingHTTPServer):
    """Takes what OTLP/HTTP brings."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Collects)
        self.spans, self.metrics, self.headers = [], set(), {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Collects(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.headers = self.headers
        if self.path == "/v1/traces":
            told = ExportTraceServiceRequest.FromString(body)
            self.server.spans += [s for r in told.resource_spans for c in r.scope_spans for s in c.spans]
        else:
            told = ExportMetricsServiceRequest.FromString(body)
            self.server.metrics |= {
                m.name for r in told.resource_metrics for c in r.scope_metrics for m in c.metrics
            }
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def upstream():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def collector():
    with Collector() as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory, upstream, collector):
    folder = tmp_path_factory.mktemp("told")
    config = {
        "data_dir": str(folder / "data"),
        "default_models": False,
        "log": {"format": "json", "level": "debug"},
        "auth": {"api_keys": [ADMIN], "jwt_secret": SIGNED},
        "limits": {"tiers": {"basic": "2/hour"}},
        "telemetry": {
            "content": True,
            "otlp_endpoint": collector.url,
            "otlp_headers": f"X-Collector-Key={COLLECTOR}",
            "metrics_interval": 1,
        },
        "models": {"parrot": {"engine": "openai", "base_url": f"{upstream.url}/v1", "api_key": UPSTREAM}},
    }
    with Service(folder, config) as running:
        yield running


def ask(service, said="Hello", key=ADMIN, path="/v1/chat/completions", **headers):
    body = {"model": "parrot", "messages": [{"role": "user", "content": said}]}
    return service.call(path, body, {"Authorization": f"Bearer {key}", **headers})


def test_a_busy_log_holds_no_secret_and_names_every_request(service):
    """Every way in which a secret could get into a line."""
    token = jwt.encode({"sub": "ann", "tier": "basic", "exp": int(time.time()) + 600}, SIGNED, "HS256")
    made = service.call("/v1/keys", {"user_id": "bob"}, {"Authorization": f"Bearer {ADMIN}"})[1]["key"]
    stranger = "sk-stranger-that-nobody-may-read-0123"
    said = "My card is 4111 1111 1111 1111 and my key sk-said-that-nobody-may-read-0123"
    ids = [f"busy-{number}" for number in range(12)]
    for number, key in enumerate([ADMIN, token, made, stranger, token, token, f"{token}x", made, made]):
        ask(service, said, key, **{"X-Request-ID": ids[number]})
    for number, question in enumerate(("refuse", "fail", "break"), 9):
        ask(service, question, **{"X-Request-ID": ids[number]})
    service.call("/v1/models", {"id": "bad", "api_key": UPSTREAM}, {"Authorization": f"Bearer {ADMIN}"})
    stream = Stream(
        service,
        "/v1/chat/completions",
        {"model": "parrot", "stream": True, "messages": [{"role": "user", "content": "count"}]},
        headers={"X-API-Key": ADMIN, "X-Request-ID": "left"},
    )
    stream.read_until(b"5 ")
    stream.socket.close()
    service.wait_until(lambda: '"left"' in service.log_file.read_text(), 10)
    time.sleep(0.5)
    text = service.log_file.read_text()
    for secret in (ADMIN, UPSTREAM, SIGNED, COLLECTOR, token, made, stranger, "4111", "nobody-may-read"):
        assert secret not in text, secret
    lines = [json.loads(line) for line in text.splitlines()]
    for name in ids:
        assert {"request", "request_failed"} & {
            line["event"] for line in lines if line.get("request_id") == name
        }, name
    of_requests = {"request", "request_failed", "caller_gone", "request_retried", "audit"}
    assert all(line.get("request_id") for line in lines if line["event"] in of_requests)
    outcomes = {line["request_id"]: line["outcome"] for line in lines if line["event"] == "request"}
    assert outcomes["left"] == "cancelled"
    assert {outcomes[name] for name in ids} == {"completed", "refused", "failed"}


def test_prompts_are_kept_redacted_for_who_asked(service):
    ask(service, "I am ann@example.org", **{"X-Request-ID": "kept"})
    found = service.call("/v1/telemetry/requests/kept", headers={"X-API-Key": ADMIN})[1]
    assert (found["prompt"], found["answer"]) == ("I am [email]", "Yes.")


def test_a_collector_hears_of_spans_and_measures(service, collector):
    ask(service, traceparent=f"00-{TRACE}-b7ad6b7169203331-01", **{"X-Request-ID": "traced"})

    def heard():
        return [span for span in collector.spans if span.trace_id.hex() == TRACE]

    service.wait_until(lambda: len(heard()) >= 6, 10)
    assert {span.name for span in heard()} >= {"POST /v1/chat/completions", "chat parrot", "queue", "ledger"}
    service.wait_until(lambda: "gen_ai.client.token.usage" in collector.metrics, 10)
    assert "gen_ai.server.request.duration" in collector.metrics
    assert collector.headers["X-Collector-Key"] == COLLECTOR


def test_requests_outlive_a_restart(service, tmp_path):
    ask(service, **{"X-Request-ID": "before"})
    service.process.terminate()
    service.process.wait(30)
    service.start()
    found = service.call("/v1/telemetry/requests?request_id=before", headers={"X-API-Key": ADMIN})[1]
    assert (found["source"], len(found["data"])) == ("database", 1)
