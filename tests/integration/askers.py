"""Official clients as people use them, with their own retries and time-outs: what each makes of one question."""

import time
from contextlib import suppress
from typing import NamedTuple

import anthropic
import httpx
import httpx2
import ollama
import openai

from tests.integration.javascript import JavaScript

_RAISED = (openai.APIError, anthropic.APIError, ollama.ResponseError)


class Outcome(NamedTuple):
    """What a client's user sees, and what it took."""

    text: str
    error: str
    """Name of the class that was raised; empty when none was."""
    status: int | None
    tries: int
    """Requests that the client sent."""
    seconds: float


class Asker:
    """A client that asks the service at a URL. `patience` is its time-out in seconds."""

    def __init__(self, url):
        self.url = url
        self._tries = 0

    def ask(self, model, text, *, key="none", stream=False, patience=30.0, **fields):
        """The whole answer, or what was raised; `fields` go into the body as they are."""
        self._tries, began = 0, time.monotonic()
        told, error, status = "", "", None
        try:
            told = self._ask({"model": model, **fields}, text, key, stream, patience)
        except (*_RAISED, httpx.HTTPError, httpx2.HTTPError, ConnectionError) as raised:
            error, status = type(raised).__name__, getattr(raised, "status_code", None)
        return Outcome(told, error, status, self._tries, time.monotonic() - began)

    def close(self):
        """What it holds open."""

    def _count(self, request):
        self._tries += 1


class OpenAI(Asker):
    """The Python client."""

    def _ask(self, fields, text, key, stream, patience):
        http = openai.DefaultHttpxClient(event_hooks={"request": [self._count]})
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, timeout=patience, http_client=http) as client:
            create = client.chat.completions.create
            answer = create(
                messages=[{"role": "user", "content": text}], stream=stream, extra_body=fields, model=""
            )
            if not stream:
                return answer.choices[0].message.content
            return "".join([choice.delta.content or "" for chunk in answer for choice in chunk.choices])


class Anthropic(Asker):
    """The Python client."""

    def _ask(self, fields, text, key, stream, patience):
        http = anthropic.DefaultHttpxClient(event_hooks={"request": [self._count]})
        with anthropic.Anthropic(base_url=self.url, api_key=key, timeout=patience, http_client=http) as client:
            asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 50, "extra_body": fields}
            if not stream:
                return client.messages.create(**asked, model="").content[0].text
            with client.messages.stream(**asked, model="") as events:
                return "".join(events.text_stream)


class Ollama(Asker):
    """The Python client, which asks once and, unless told otherwise, waits for ever."""

    def _ask(self, fields, text, key, stream, patience):
        hooks = {"request": [self._count]}
        named = {"Authorization": f"Bearer {key}"}
        options = {name: fields.pop(name) for name in list(fields) if name != "model"}
        with ollama.Client(host=self.url, timeout=patience, headers=named, event_hooks=hooks) as client:
            turn = [{"role": "user", "content": text}]
            answer = client.chat(messages=turn, stream=stream, options=options or None, **fields)
            pieces = answer if stream else [answer]
            return "".join([piece.message.content or "" for piece in pieces])


class JavaScriptOpenAI(Asker):
    """OpenAI's JavaScript client."""

    def __init__(self, url):
        super().__init__(url)
        self._node = JavaScript()

    def close(self):
        with suppress(OSError):
            self._node.__exit__()

    def ask(self, model, text, *, key="none", stream=False, patience=30.0, **fields):
        began = time.monotonic()
        client = {"baseURL": f"{self.url}/v1", "apiKey": key, "timeout": patience * 1000}
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **fields}
        told = self._node.ask(client, "chat.completions.create", body)
        seconds = time.monotonic() - began
        if "error" in told:
            return Outcome("", told["error"]["name"], told["error"].get("status"), told["tries"], seconds)
        choices = [choice for chunk in told["pieces"] for choice in chunk["choices"]]
        words = "".join([choice["delta"].get("content") or "" for choice in choices])
        if not stream:
            words = told["answer"]["choices"][0]["message"]["content"]
        return Outcome(words, "", None, told["tries"], seconds)


ASKERS = {asker.__name__: asker for asker in (OpenAI, Anthropic, Ollama, JavaScriptOpenAI)}
