"""Every face as its official client sees it: one question, one answer, whatever the dialect."""

import base64
import json
import socket
from typing import ClassVar, NamedTuple

import anthropic
import ollama
import openai

from tests.integration.upstream import TOKENS

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_ENCODED = base64.b64encode(PICTURE).decode()
_URL = f"data:image/png;base64,{_ENCODED}"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["age", "name"],
    "additionalProperties": False,
}
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STOP = "three"


class Told(NamedTuple):
    """An answer as a client tells it."""

    text: str
    calls: tuple[tuple[str, dict], ...]
    reason: str
    tokens: tuple[int, int]


class Refused(Exception):
    """What a client raises; `status` is None within a stream."""

    def __init__(self, message, status=None, retry_after=None, begun=""):
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.begun = begun
        """What was told before."""


class _Words(list):
    """What was told so far; whoever wants to know hears of each piece."""

    def __init__(self, heard):
        self._heard = heard

    def append(self, piece):
        super().append(piece)
        if piece:
            self._heard()


class Face:
    """One route. `cannot` names the jobs the dialect has no words for, with the reason."""

    path = ""
    cannot: ClassVar[dict[str, str]] = {}
    plain = "stop"
    stopped = "stop"
    called = "tool_calls"

    def __init__(self, url):
        """A client for it."""

    def close(self):
        """Its client's connections."""
        self.client.close()

    def body(self, job, text):
        """The fields of a request for a job, stream aside."""
        raise NotImplementedError

    def ask(self, model, job, text, *, stream, heard=lambda: None):
        """The answer; `heard` is called when words of it come.

        Raises:
            Refused: the client raises.
        """
        told = _Words(heard)
        try:
            return self._ask({"model": model, **self.body(job, text)}, stream, told)
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            within = error.response.status_code < 400
            status = None if within else error.status_code
            message = str((error.body.get("error") or error.body)["message"])
            raise Refused(message, status, error.response.headers.get("Retry-After"), "".join(told)) from error
        except openai.APIError as error:
            raise Refused(error.message, begun="".join(told)) from error
        except ollama.ResponseError as error:
            raise Refused(
                error.error, error.status_code if error.status_code > 0 else None, begun="".join(told)
            ) from error

    def _ask(self, fields, stream, told):
        raise NotImplementedError


class _OpenAI(Face):
    def __init__(self, url):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=50)


class Chat(_OpenAI):
    """OpenAI's chat completions."""

    path = "/v1/chat/completions"

    def body(self, job, text):
        image = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": _URL}}]
        fields = {"messages": [{"role": "user", "content": image if job == "image" else text}]}
        if job in {"tools", "parallel"}:
            fields["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}]
        if job == "schema":
            schema = {"name": "person", "schema": SCHEMA, "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return fields | ({"stop": [STOP]} if job == "stop" else {})

    def _ask(self, fields, stream, told):
        create = self.client.chat.completions.create
        if not stream:
            answer = create(**fields)
            message = answer.choices[0].message
            calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
            return Told(message.content or "", tuple(calls), answer.choices[0].finish_reason, _openai(answer.usage))
        reason, tokens, calls = "", (0, 0), {}
        for chunk in create(**fields, stream=True, stream_options={"include_usage": True}):
            tokens = _openai(chunk.usage) if chunk.usage else tokens
            for choice in chunk.choices:
                told.append(choice.delta.content or "")
                reason = choice.finish_reason or reason
                for call in choice.delta.tool_calls or ():
                    name, arguments = calls.setdefault(call.index, ([], []))
                    name.append(call.function.name or "")
                    arguments.append(call.function.arguments or "")
        whole = tuple(("".join(name), json.loads("".join(arguments))) for name, arguments in calls.values())
        return Told("".join(told), whole, reason, tokens)


class Completions(_OpenAI):
    """OpenAI's text completions."""

    path = "/v1/completions"
    cannot: ClassVar = {
        "tools": "a text completion has no tools",
        "parallel": "a text completion has no tools",
        "image": "a prompt is text",
        "schema": "OpenAI's text completions have no response format",
    }

    def body(self, job, text):
        return {"prompt": text} | ({"stop": [STOP]} if job == "stop" else {})

    def _ask(self, fields, stream, told):
        create = self.client.completions.create
        if not stream:
            answer = create(**fields)
            return Told(answer.choices[0].text, (), answer.choices[0].finish_reason, _openai(answer.usage))
        reason, tokens = "", (0, 0)
        for chunk in create(**fields, stream=True, stream_options={"include_usage": True}):
            tokens = _openai(chunk.usage) if chunk.usage else tokens
            for choice in chunk.choices:
                told.append(choice.text)
                reason = choice.finish_reason or reason
        return Told("".join(told), (), reason, tokens)


class Responses(_OpenAI):
    """OpenAI's Responses."""

    path = "/v1/responses"
    plain = stopped = called = "completed"

    def body(self, job, text):
        image = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": _URL, "detail": "auto"}]
        fields = {"input": [{"role": "user", "content": image if job == "image" else text}]}
        if job in {"tools", "parallel"}:
            fields["tools"] = [{"type": "function", "name": "weather", "parameters": _CITY, "strict": False}]
        if job == "schema":
            fields["text"] = {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}}
        return fields | ({"stop": [STOP]} if job == "stop" else {})

    def _ask(self, fields, stream, told):
        stop = fields.pop("stop", None)  # no word of OpenAI's client, but one that servers have taken over
        create = self.client.responses.create
        answer = create(**fields, extra_body={"stop": stop} if stop else None, stream=stream)
        if stream:
            answer = self._last(answer, told)
        calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        if stream:
            assert answer.output_text == "".join(told)
        tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
        return Told(answer.output_text, tuple(calls), answer.status, tokens)

    def _last(self, events, told):
        last = None
        # To its end: a stream that is left to the garbage collector may be closed in the midst of another request,
        # of which the client's pool then forgets the connection.
        for event in events:
            assert last is None, f"{event.type} after response.completed"
            if event.type == "response.output_text.delta":
                told.append(event.delta)
            if event.type == "response.completed":
                last = event.response
        assert last is not None, "a stream of Responses ended without response.completed, and without an error"
        return last


class Messages(Face):
    """Anthropic's Messages."""

    path = "/v1/messages"
    plain, stopped, called = "end_turn", "stop_sequence", "tool_use"

    def __init__(self, url):
        self.client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=50)

    def body(self, job, text):
        source = {"type": "base64", "media_type": "image/png", "data": _ENCODED}
        image = [{"type": "image", "source": source}, {"type": "text", "text": text}]
        content = image if job == "image" else text
        fields = {"max_tokens": 99, "messages": [{"role": "user", "content": content}]}
        if job in {"tools", "parallel"}:
            fields["tools"] = [{"name": "weather", "input_schema": _CITY}]
        if job == "schema":
            fields["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        return fields | ({"stop_sequences": [STOP]} if job == "stop" else {})

    def _ask(self, fields, stream, told):
        if stream:
            with self.client.messages.stream(**fields) as events:
                for event in events:
                    if event.type == "content_block_delta" and event.delta.type == "text_delta":
                        told.append(event.delta.text)
                answer = events.get_final_message()
        else:
            answer = self.client.messages.create(**fields)
        text = "".join([block.text for block in answer.content if block.type == "text"])
        calls = tuple((block.name, block.input) for block in answer.content if block.type == "tool_use")
        reason = answer.stop_reason or ""
        return Told(text, calls, reason, (answer.usage.input_tokens, answer.usage.output_tokens))


class _Ollama(Face):
    def __init__(self, url):
        self.client = ollama.Client(host=url, timeout=50)

    def _common(self, job):
        fields = {"format": SCHEMA} if job == "schema" else {}
        return fields | ({"options": {"stop": [STOP]}} if job == "stop" else {})


class OllamaChat(_Ollama):
    """Ollama's chat."""

    path = "/api/chat"
    called = "stop"

    def body(self, job, text):
        turn = {"role": "user", "content": text} | ({"images": [_ENCODED]} if job == "image" else {})
        tool = {"type": "function", "function": {"name": "weather", "description": "", "parameters": _CITY}}
        return {"messages": [turn], **self._common(job)} | (
            {"tools": [tool]} if job in {"tools", "parallel"} else {}
        )

    def _ask(self, fields, stream, told):
        answers = self.client.chat(**fields, stream=stream)
        calls = []
        for last in answers if stream else (answers,):
            told.append(last.message.content or "")
            calls += [(call.function.name, dict(call.function.arguments)) for call in last.message.tool_calls or ()]
        assert last.done
        return Told("".join(told), tuple(calls), last.done_reason, (last.prompt_eval_count, last.eval_count))


class OllamaGenerate(_Ollama):
    """Ollama's generate."""

    path = "/api/generate"
    cannot: ClassVar = {"tools": "Ollama's generate has no tools", "parallel": "Ollama's generate has no tools"}

    def body(self, job, text):
        return {"prompt": text, **self._common(job)} | ({"images": [_ENCODED]} if job == "image" else {})

    def _ask(self, fields, stream, told):
        answers = self.client.generate(**fields, stream=stream)
        for last in answers if stream else (answers,):
            told.append(last.response)
        assert last.done
        return Told("".join(told), (), last.done_reason, (last.prompt_eval_count, last.eval_count))


FACES = {face.__name__: face for face in (Chat, Completions, Responses, Messages, OllamaChat, OllamaGenerate)}


def _openai(usage):
    tokens = getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0)
    assert usage.total_tokens == sum(tokens) == sum(TOKENS)
    return tokens


class Leaving:
    """A raw request; its caller leaves with the context."""

    def __init__(self, port, face, model, text, *, stream):
        body = json.dumps({"model": model, "stream": stream, **face.body("leave", text)}).encode()
        head = f"POST {face.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.sendall(head.encode() + body)

    def read_until(self, marker):
        received = b""
        while marker not in received:
            chunk = self._socket.recv(65536)
            assert chunk, f"the connection ended before {marker!r}: {received[-500:]!r}"
            received += chunk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
