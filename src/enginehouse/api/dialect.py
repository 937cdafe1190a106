"""The OpenAI dialect's data: what a request must look like, and how errors and embeddings are written."""

import base64
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from enginehouse.api.wire import status_of
from enginehouse.dialects.openai.shapes import error_json
from enginehouse.engines.base import Embedding
from enginehouse.errors import EnginehouseError, InvalidRequest

__all__ = [
    "ChatBody",
    "CompletionBody",
    "EmbeddingBody",
    "decode",
    "embedding_body",
    "error_body",
    "indices",
    "shortened",
]

Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1)]
Json = dict[str, Any]
Body = TypeVar("Body", bound=Struct)


class StreamOptions(Struct):
    """How a stream shall be told."""

    include_usage: bool | None = None


class Message(Struct):
    """One turn. The engine checks what its chat template needs; here only what every engine needs."""

    role: str
    content: str | list[Json] | None = None
    tool_calls: list[Json] | None = None


class Sampling(Struct, kw_only=True):
    """What chat and text completions have in common."""

    model: str
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None


class ChatBody(Sampling, kw_only=True):
    """`POST /v1/chat/completions`; fields that are not named here pass through to the engine."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=0)] | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    response_format: Json | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class CompletionBody(Sampling, kw_only=True):
    """`POST /v1/completions`; fields that are not named here pass through to the engine."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0)] | None = None


class EmbeddingBody(Struct, kw_only=True):
    """`POST /v1/embeddings`."""

    model: str
    input: str | list[str | int | list[int]]
    dimensions: Count | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    def texts(self) -> list[str] | list[list[int]]:
        """The inputs, one item a vector; OpenAI's four spellings come down to two.

        Raises:
            InvalidRequest: nothing, an empty item, or texts and tokens mixed.
        """
        if isinstance(self.input, str):
            return [_filled(self.input)]
        items = self.input
        if items and all(isinstance(item, str) for item in items):
            return [_filled(item) for item in items if isinstance(item, str)]
        if items and all(isinstance(item, int) for item in items):
            return [[item for item in items if isinstance(item, int)]]
        if items and all(isinstance(item, list) and item for item in items):
            return [item for item in items if isinstance(item, list)]
        raise InvalidRequest(
            "input has to be a text, a list of texts, a list of token ids or a list of such lists, none empty.",
            param="input",
        )


def _filled(text: str) -> str:
    if not text:
        raise InvalidRequest("input holds an empty text.", param="input")
    return text


_FIELD = re.compile(r"at `\$\.?([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")


def decode(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """A request out of its bytes.

    Raises:
        InvalidRequest: not JSON, a field missing, of the wrong type or out of range; `param` names it.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_plain(str(error)), param=_field(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def _field(message: str) -> str | None:
    path = "".join(match.group(1) for match in _FIELD.finditer(message))
    missing = _MISSING.search(message)
    name = ".".join(part for part in (path, missing.group(1) if missing else "") if part)
    return name or None


def _plain(message: str) -> str:
    return message.replace(" - at `$", " at `").replace("at `.", "at `").replace("`object`", "an object")


def error_body(error: EnginehouseError) -> Json:
    """An error as OpenAI's clients read it."""
    return error_json(error, status_of(error))


def embedding_body(embedding: Embedding, model: str, *, base64_encoded: bool, dimensions: int | None) -> bytes:
    """Vectors as OpenAI writes them: numbers, or little-endian float32 in base64.

    `dimensions` keeps the first so many numbers and scales what is left to unit length.

    Raises:
        InvalidRequest: more dimensions than the model has.
    """
    vectors = [shortened(vector, dimensions) for vector in embedding.vectors]
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if base64_encoded else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": embedding.tokens, "total_tokens": embedding.tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def indices(numbers: Sequence[int]) -> bytes:
    """The first hundred of them, for a header."""
    return ",".join(map(str, numbers[:100])).encode()


def shortened(vector: Sequence[float], dimensions: int | None) -> Sequence[float]:
    """The first so many numbers, scaled to unit length.

    Raises:
        InvalidRequest: more than the model has.
    """
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise InvalidRequest(
            f"dimensions is {dimensions}, the model's vectors have {len(vector)}.", param="dimensions"
        )
    kept = vector[:dimensions]
    length = sum(number * number for number in kept) ** 0.5
    return [number / length for number in kept] if length else kept


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
