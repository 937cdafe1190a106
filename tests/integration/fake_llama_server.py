"""A llama-server whose manners are written in a file, to see what the house makes of a child that misbehaves.

Runs as a program of its own, with nothing but the standard library: `--script FILE` names a JSON object that is
read at the start and again at each request, so that a test can change its mind. What happens is noted beside it:
process ids in `FILE.lives`, a mark a request in `FILE.asked`, a mark a caller who went away in `FILE.left`.

    load      {seconds, signs, hang, exit, kill, words}: how it comes up, or not
    term      "ignore": SIGTERM does nothing
    grandchild  true: a process in its group that ignores SIGTERM too
    keys      "any" takes every key, "none" takes no key
    alias     another name than it was given
    answer    {tokens, pause, prefill, prefill_pause, silent, crash, crash_after, stall_after, grow}
    robbed    {by, stays}: another such server, with the script `by`, takes its port before it can; it ends, or
              stays as one that still loads
    grow      MiB it takes, from the start or, in `answer`, from a request on
    lives     a list of such objects: the n-th life has the n-th, the last one has the rest
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NEVER = 3600


class Script:
    """What the file says for this life."""

    def __init__(self, file: Path):
        self._file = file
        self.note("lives", f"{os.getpid()}\n")
        self._life = len(Path(f"{file}.lives").read_text().split()) - 1

    def note(self, what, text="x"):
        with Path(f"{self._file}.{what}").open("a") as notes:
            notes.write(text)

    def __call__(self, key, default=None):
        whole = json.loads(self._file.read_text())
        lives = whole.get("lives") or [{}]
        return {**whole, **lives[min(self._life, len(lives) - 1)]}.get(key, default)


def say(line):
    print(line, file=sys.stderr, flush=True)


def load(script):
    if script("term") == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if script("grandchild"):
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
        subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf])
    manner = script("load", {})
    if manner.get("hang"):
        time.sleep(NEVER)
    until = time.monotonic() + manner.get("seconds", 0)
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(0.1, left))
        if manner.get("signs"):
            say("load_tensors: .")
    for line in manner.get("words", ()):
        say(line)
    if manner.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "exit" in manner:
        os._exit(manner["exit"])


def be_robbed(script, flags):
    """The stranger is of another group, and outlives us."""
    if not (manner := script("robbed")):
        return
    listening = ["--host", flags.host, "--port", str(flags.port), "--alias", flags.alias, "--script", manner["by"]]
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *listening],
        env={**os.environ, "LLAMA_API_KEY": "the stranger's own"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while socket.socket().connect_ex((flags.host, flags.port)):
        time.sleep(0.02)
    while manner.get("stays"):
        say("load_tensors: .")
        time.sleep(0.1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        if self.path == "/health":
            self.whole(200, {"status": "ok"})
        elif self.allowed():
            self.whole(200, {"data": [{"id": self.server.script("alias") or self.server.alias}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        if self.path == "/tokenize":
            self.whole(200, {"tokens": [1] * len(body["content"].split())})
            return
        if self.path == "/v1/rerank":
            self.rank(body)
            return
        self.server.script.note("asked")
        try:
            self.generate(self.server.script("answer", {}))
        except OSError:
            self.server.script.note("left")

    def allowed(self):
        keys, sent = self.server.script("keys"), self.headers.get("Authorization")
        if keys == "any" or (keys != "none" and sent == f"Bearer {self.server.key}"):
            return True
        self.whole(401, {"error": {"message": "Invalid API Key"}})
        return False

    def generate(self, answer):
        self.server.grown.append(bytearray(os.urandom(1024)) * 1024 * answer.get("grow", 0))
        if answer.get("crash"):
            os._exit(139)
        if answer.get("silent"):
            time.sleep(NEVER)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(answer.get("prefill", 0)):
            self.frame({"choices": [], "prompt_progress": {"processed": number}})
            time.sleep(answer.get("prefill_pause", 0.05))
        for number in range(answer.get("tokens", 3)):
            if number == answer.get("crash_after"):
                os._exit(139)
            if number == answer.get("stall_after"):
                time.sleep(NEVER)
            self.frame({"choices": [{"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}]})
            time.sleep(answer.get("pause", 0.01))
        self.frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def rank(self, body):
        """As llama.cpp does: it says 501 unless it was started for this, and its results are in no order."""
        if not self.server.ranks:
            error = {
                "code": 501,
                "message": "This server does not support reranking.",
                "type": "not_supported_error",
            }
            self.whole(501, {"error": error})
            return
        scores = [body["query"].count(document) - 1.5 for document in body["documents"]]
        results = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
        usage = {"prompt_tokens": 12, "total_tokens": 12}
        self.whole(200, {"model": body["model"], "object": "list", "usage": usage, "results": results[::-1]})

    def frame(self, content):
        chunk = {"object": "chat.completion.chunk", "model": self.server.alias, **content}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def whole(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--host", "--alias", "--script", "-m", "-c", "-np"):
        parser.add_argument(flag)
    parser.add_argument("--tensor-split")
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument("--reranking", action="store_true")
    parser.add_argument("--port", type=int)
    flags = parser.parse_args()
    script = Script(Path(flags.script))
    be_robbed(script, flags)
    load(script)
    try:
        server = Server((flags.host, script("port") or flags.port), Handler)
    except OSError:
        say(f"start: couldn't bind HTTP server socket, hostname: {flags.host}, port: {flags.port}")
        os._exit(1)
    server.script, server.alias, server.key = script, flags.alias, os.environ["LLAMA_API_KEY"]
    server.ranks = flags.reranking
    server.grown = [bytearray(os.urandom(1024)) * 1024 * script("grow", 0)]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    if script("term") != "ignore":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(NEVER)


if __name__ == "__main__":
    main()
