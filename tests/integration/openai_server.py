"""A small OpenAI-compatible server whose answers are as slow or broken as the question asks for."""

import threading
import time

from tests.integration.loopback import Handler, Loopback

PAUSE = 0.02
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class FakeOpenAI(Loopback):
    """Use as a context. `bodies` holds every request, `hung_up` is set when a caller leaves a stream."""

    def __init__(self):
        super().__init__(_Handler)
        self.bodies: list[dict] = []
        self.hung_up = threading.Event()

    @property
    def last_messages(self):
        return self.bodies[-1]["messages"]


class _Handler(Handler):
    def get(self):
        models = [{"id": name, "object": "model"} for name in ("parrot", "jackdaw")]
        self.send_json({"object": "list", "data": models})

    def post(self):
        body = self.body()
        self.owner.bodies.append(body)
        question = body["messages"][-1]["content"]
        if question == "refuse":
            self.send_json({"error": {"message": "I will not.", "type": "invalid_request_error"}}, 400)
            return
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
            self.send_json({"choices": [choice], "usage": _USAGE})
            return
        try:
            self.begin_stream()
            self._answer(question)
        except OSError:
            self.owner.hung_up.set()

    def _answer(self, question):
        if question == "count":
            for number in range(10_000):
                self._delta(f"{number} ")
                time.sleep(PAUSE)
        words = {"fail": "Well, ", "break": "Well, "}.get(question, f"You said {question!r}.")
        self._delta(words)
        if question == "fail":
            self.frame({"error": {"message": "The engine tripped.", "type": "server_error"}})
        if question in {"fail", "break"}:
            return
        self.frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.frame({"choices": [], "usage": _USAGE})
        self.frame(b"[DONE]")

    def _delta(self, text):
        self.frame({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
