"""The OpenAPI page: what every route takes, answers and refuses, the hot ones among them.

What routes have in common is said here, once; a route's own `responses=` say only what is particular to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from fastapi import Query
from msgspec import Struct
from pydantic import BaseModel

from enginehouse.api.faces import Face
from enginehouse.api.guard import is_public
from enginehouse.api.refusals import SHAPES, shape_of
from enginehouse.types import Priority

__all__ = ["ANY_KEY", "EVENTS", "LOADS", "UNKNOWN", "OneReplica", "Responses", "body_of", "complete"]

Json: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[int | str, dict[str, Any]]

OneReplica = Annotated[
    str | None,
    Query(description="Only of this replica, by its id, or `self` for the one that answers; of all when left out."),
]

_REF = "#/components/schemas/{}"

LOADS: Responses = {
    409: {"description": "It was unloaded while it was loading."},
    503: {"description": "It cannot be loaded, and the engine's own last lines say why; or a store is away."},
    504: {"description": "It was still loading when the time was over."},
    507: {"description": "It does not fit in memory even with all else gone."},
}
"""How a route that loads a model may end."""
UNKNOWN: Responses = {404: {"description": "No such model."}}
"""How a route may end whose body names a model."""
EVENTS: Responses = {200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}}
"""The answer of a route whose stream ends only with its caller, or with the service."""

_HOT: Mapping[int, str] = {
    404: "No such model.",
    409: "The model was unloaded while it was loading.",
    502: "The engine refused, or died.",
    503: "The queue is full, the model cannot be loaded, or usage cannot be recorded; see Retry-After.",
    504: "It took too long: in the line, to load, or to answer.",
    507: "The model does not fit in memory even with all else gone.",
}
_OTHER: Mapping[str, str] = {
    "queue_full": "The queue is full; see Retry-After.",
    "insufficient_quota": "The budget is spent.",
}
"""What a dialect has a status of its own for."""
_CONTROLS = [
    {
        "name": "X-Request-Priority",
        "in": "header",
        "description": "Whose turn it is where requests wait; `normal` when left out.",
        "schema": {"type": "string", "enum": [priority.value for priority in Priority]},
    },
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds that the line, the load and the answer's first piece may take together.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Session-ID",
        "in": "header",
        "description": "On chats: the kept conversation to go on with; the messages are what is new.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"},
    },
]
"""What every hot route may be told beside its body."""
_SCHEMES: Mapping[str, Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a JWT."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}
ANY_KEY: Sequence[Json] = [{name: []} for name in _SCHEMES]
"""`security` of a route that wants one of them."""


def body_of(
    kind: type[BaseModel] | type[Struct], media_type: str = "application/json", *, required: bool = True
) -> Json:
    """`openapi_extra` of a route that reads its body itself."""
    schema = _schema_of(kind)
    return {"requestBody": {"required": required, "content": {media_type: {"schema": schema}}}}


def complete(document: Json, faces: Mapping[str, Face]) -> Json:
    """The framework's page with the hot routes, every refusal and the ways to say who is calling.

    Args:
        document: what the framework knows; it is changed.
        faces: the hot routes by path, all for POST.
    """
    paths: dict[str, Json] = document["paths"]
    for path, face in faces.items():
        paths[path] = {"post": _hot(face)}
    for path, methods in paths.items():
        for method, operation in methods.items():
            _refuse(path, method, operation)
            if is_public(path):
                operation["security"] = []
    components = document.setdefault("components", {})
    components["securitySchemes"] = dict(_SCHEMES)
    document["security"] = ANY_KEY
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(_parts(*(shape.body for shape in SHAPES)))
    _gather(paths, schemas)
    return document


def _hot(face: Face) -> Json:
    page = face.page
    content: Json = {"application/json": {"schema": {"type": "object"}}}
    if page.stream is not None:
        content[page.stream.partition(";")[0]] = {}
    answers: Json = {"200": {"description": "The answer, as the dialect's clients know it.", "content": content}}
    answers |= {str(status): {"description": meaning} for status, meaning in {**_HOT, **page.refusals}.items()}
    answers |= {str(status): {"description": _OTHER[code]} for code, status in face.statuses.items()}
    return {
        "tags": [page.tag],
        "summary": page.summary,
        "operationId": page.body.__name__,
        "parameters": [*_CONTROLS, *map(_in_address, page.query.items())],
        **body_of(page.body, required=not page.query),
        "responses": answers,
    }


def _in_address(parameter: tuple[str, str]) -> Json:
    name, meaning = parameter
    return {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}


def _refuse(path: str, method: str, operation: Json) -> None:
    """Every refusal is in the shape of its path, and those that all routes share stand at each."""
    answers: dict[str, Json] = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]  # the framework's own guess: what is wrong with a request is told with 400
    for status, meaning in _shared(path, method, operation):
        answers.setdefault(str(status), {"description": meaning})
    schema = {"$ref": _REF.format(shape_of(path).body.__name__)}
    for status, answer in answers.items():
        if int(status) >= 400:
            answer.setdefault("content", {"application/json": {"schema": schema}})
    operation["responses"] = dict(sorted(answers.items()))


def _shared(path: str, method: str, operation: Json) -> Iterator[tuple[int, str]]:
    yield 403, "The caller may not do this; or a web page of somebody else asks, where nobody needs a key."
    if not is_public(path):
        yield 401, "No credentials, or none that are known."
        yield 503, "A store cannot be reached; see Retry-After."
    if not is_public(path) and method == "post":
        yield 429, "The caller's limit is reached; see Retry-After."
    if "parameters" in operation or "requestBody" in operation:
        yield 400, "The request is wrong; the message names the field."
    if "requestBody" in operation:
        yield 413, "The body is too large."
    if "{" in path:
        yield 404, "There is none of this name."
    elif any(one["name"] == "replica" for one in operation.get("parameters", ())):
        yield 404, "There is no such replica."


def _schema_of(kind: type[BaseModel] | type[Struct]) -> Json:
    """A reference, and what it refers to; `_gather` takes them apart."""
    reference = _REF.format(kind.__name__)
    if issubclass(kind, Struct):
        return {"$ref": reference, "$defs": _parts(kind)}
    schema = kind.model_json_schema(ref_template=_REF.format("{model}"))
    return {"$ref": reference, "$defs": {**schema.pop("$defs", {}), kind.__name__: schema}}


def _parts(*kinds: type[Struct]) -> Json:
    _, parts = msgspec.json.schema_components(kinds, ref_template=_REF.format("{name}"))
    return parts


def _gather(paths: Mapping[str, Json], schemas: Json) -> None:
    """Parts of bodies move to where all schemas of the page are."""
    for methods in paths.values():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name, schema in content["schema"].pop("$defs", {}).items():
                    assert schemas.setdefault(name, schema) == schema, f"two bodies are called {name}"
