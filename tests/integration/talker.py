"""An OpenAI-compatible server that talks as long and as slowly as its question says, and remembers who hung up."""

import threading
import time
from contextlib import suppress

from tests.integration.loopback import Handler, Loopback


class Talker(Loopback):
    """Use as a context. A question is a number of words, and seconds between two of them: `20 0.01`.

    Attributes:
        heard: the messages of every request, in order.
        running: how many are being answered.
        hold: while it is not set, answers end after their last word only when it is.
        told: set when the last word of an answer has been said.
    """

    def __init__(self):
        super().__init__(_Handler)
        self.heard, self.running = [], 0
        self.hold, self.told = threading.Event(), threading.Event()
        self.hold.set()
        self._lock = threading.Lock()

    def __exit__(self, *_):
        self.hold.set()
        super().__exit__()

    def count(self, change):
        with self._lock:
            self.running += change


class _Handler(Handler):
    def post(self):
        messages = self.body()["messages"]
        self.owner.heard.append(messages)
        words, _, pause = messages[-1]["content"].partition(" ")
        self.owner.count(1)
        try:
            with suppress(OSError):
                self._talk(int(words), float(pause or 0))
        finally:
            self.owner.count(-1)

    def _talk(self, words, pause):
        self.begin_stream()
        for number in range(words):
            self._say({"delta": {"content": f"w{number} "}, "finish_reason": None})
            time.sleep(pause)
        self.owner.told.set()
        self.owner.hold.wait()
        self._say({"delta": {}, "finish_reason": "stop"})
        self.frame(b"[DONE]")

    def _say(self, choice):
        self.frame({"choices": [{"index": 0, **choice}]})
