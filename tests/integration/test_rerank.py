"""`/v1/rerank` of a real service: embedder, cross-encoder, llama-server, server elsewhere."""

import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from enginehouse.testing.model_files import write_gguf, write_reranker_folder
from tests.integration.service import Service

PATH = "/v1/rerank"
DOCUMENTS = ["Fold the egg whites into the batter.", "The keeper lights the lamp for ships.", "A goldsmith's ring."]
QUERY = "Who looks after a lighthouse?"


class _Upstream(BaseHTTPRequestHandler):
    """Jina's dialect: results come sorted, with documents and token counts of their own."""

    def log_message(self, *_):
        """Quiet."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers["Authorization"]))
        scores = [len(text) / 100 for text in body["documents"]]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        rows = [
            {"index": i, "relevance_score": scores[i], "document": {"text": body["documents"][i]}} for i in order
        ]
        answer = {"model": body["model"], "usage": {"total_tokens": 21}, "results": rows}
        if "short" in body["query"]:
            del rows[0]
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def _upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _llama_server(folder):
    """A user's own binary: the scripted one."""
    script, binary = folder / "script.json", folder / "llama-server"
    script.write_text("{}")
    program = Path(__file__).parent / "fake_llama_server.py"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {program} --script {script} "$@"\n')
    binary.chmod(0o755)
    return binary


@pytest.fixture(scope="module")
def rankers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rankers")
    gguf = write_gguf(folder / "rank.gguf", architecture="bert", values={"bert.pooling_type": 4})
    with _upstream() as upstream:
        models = {
            "pairs": {"source": str(write_reranker_folder(folder / "pairs"))},
            "llama": {"source": str(gguf)},
            "jina": {
                "kind": "rerank",
                "base_url": f"http://127.0.0.1:{upstream.server_address[1]}/v1",
                "api_key": "sk-upstream",
                "upstream_model": "jina-reranker-v3",
            },
        }
        engines = {"llama_server": {"path": str(_llama_server(folder))}}
        config = {"data_dir": str(folder / "data"), "default_models": False, "models": models, "engines": engines}
        with Service(folder, config) as running:
            running.upstream = upstream
            yield running


def ask(service, model, documents=DOCUMENTS, query=QUERY, **more):
    return service.call(PATH, {"model": model, "query": query, "documents": documents, **more})


def test_the_default_embedder_ranks_by_cosine(service):
    status, body, headers = ask(service, "minilm", return_documents=True)
    assert status == 200, body
    assert body["results"][0]["index"] == 1
    assert body["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert body["results"][0]["relevance_score"] > 0.4 > body["results"][1]["relevance_score"]
    assert (body["scoring"], headers["x-enginehouse-model"]) == ("cosine", "minilm")
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 20
    vectors = service.call("/v1/embeddings", {"model": "minilm", "input": [QUERY, DOCUMENTS[1]]})[1]["data"]
    cosine = sum(a * b for a, b in zip(vectors[0]["embedding"], vectors[1]["embedding"], strict=True))
    assert body["results"][0]["relevance_score"] == pytest.approx(cosine, abs=1e-6)


def test_what_the_embedder_cannot_read_whole_is_told(service):
    _, _, headers = ask(service, "minilm", documents=["short", "word " * 600])
    assert headers["x-enginehouse-truncated"] == "1"


def test_what_a_ranking_cost_is_in_the_ledger(rankers):
    assert ask(rankers, "pairs", ["king"], "car")[0] == 200
    usage = rankers.call("/v1/llm/usage")[1]
    assert usage["requests_by_model"]["pairs"] >= 1


def test_a_cross_encoder_reads_pairs(rankers):
    status, body, _ = ask(rankers, "pairs", ["car", "king king", "king"], "king")
    assert status == 200, body
    assert [row["index"] for row in body["results"]] == [1, 2, 0]
    assert [row["relevance_score"] for row in body["results"]] == pytest.approx([0.8808, 0.7311, 0.5], abs=1e-4)
    assert body["scoring"] == "model"
    assert body["usage"]["total_tokens"] == 3 * 4 + 4


def test_a_gguf_that_ranks_is_started_for_it(rankers):
    """The file says what it is for; without `--reranking` the engine would say 501."""
    status, body, _ = ask(rankers, "llama", ["x", "light"], "light light")
    assert status == 200, body
    assert [(row["index"], row["relevance_score"]) for row in body["results"]] == [(1, 0.5), (0, -1.5)]
    assert (body["scoring"], body["usage"]["total_tokens"]) == ("model", 12)


def test_a_server_elsewhere_ranks_under_its_own_name_for_the_model(rankers):
    status, body, _ = ask(rankers, "jina", top_n=2)
    assert status == 200, body
    assert [row["index"] for row in body["results"]] == [1, 0]
    assert (body["model"], body["usage"]["total_tokens"]) == ("jina", 21)
    path, asked, key = rankers.upstream.asked[-1]
    assert (path, asked["model"], key) == ("/v1/rerank", "jina-reranker-v3", "Bearer sk-upstream")
    assert asked["documents"] == DOCUMENTS


def test_an_answer_that_leaves_a_document_out_is_no_answer(rankers):
    status, body, _ = ask(rankers, "jina", query="short")
    assert (status, body["error"]["code"]) == (502, "upstream_died")


def test_the_list_says_what_they_are_for(rankers):
    listed = {model["id"]: model for model in rankers.call("/v1/models")[1]["data"]}
    assert {name: (listed[name]["type"], listed[name]["capabilities"]) for name in ("pairs", "llama", "jina")} == {
        name: ("rerank", ["rerank"]) for name in ("pairs", "llama", "jina")
    }
