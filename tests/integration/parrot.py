"""An upstream that knows one answer to everything, at once: for tests whose questions do not matter."""

from tests.integration.loopback import Handler, Loopback, framed

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Parrot(Loopback):
    """An OpenAI-compatible server; use as a context."""

    def __init__(self):
        super().__init__(_Handler)


class _Handler(Handler):
    protocol_version = "HTTP/1.1"

    def get(self):
        self.send_json({"object": "list", "data": [{"id": "parrot", "object": "model"}]})

    def post(self):
        body = self.body()
        if self.path == "/v1/embeddings":
            count = len(body["input"]) if isinstance(body["input"], list) else 1
            data = [{"object": "embedding", "index": index, "embedding": [0.6, 0.8]} for index in range(count)]
            self.send_json({"object": "list", "data": data, "model": "parrot", "usage": USAGE})
        elif body.get("stream"):
            self.send("text/event-stream", b"".join(map(framed, [*_chunks(self.path), b"[DONE]"])))
        else:
            choice = {"index": 0, "finish_reason": "stop", **_words(self.path, "message")}
            self.send_json(_answer(self.path, [choice]) | {"usage": USAGE})


def _chunks(path):
    yield _answer(path, [{"index": 0, "finish_reason": None, **_words(path, "delta")}])
    end = {} if path == "/v1/completions" else {"delta": {}}
    yield _answer(path, [{"index": 0, "finish_reason": "stop", "text": "", **end}])
    yield _answer(path, []) | {"usage": USAGE}


def _words(path, name):
    return {"text": "Hello."} if path == "/v1/completions" else {name: {"role": "assistant", "content": "Hello."}}


def _answer(path, choices):
    kind = "text_completion" if path == "/v1/completions" else "chat.completion"
    return {"id": "p1", "object": kind, "created": 1, "model": "parrot", "choices": choices}
