"""The API reference: every route of the service, told from its own OpenAPI page.

python -m website.reference > api-reference.md
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from enginehouse.app.house import open_house
from enginehouse.settings import load

__all__ = ["openapi", "page", "reference"]

Json: TypeAlias = Mapping[str, Any]

HEAD = """# API reference

Every route, with what it takes and how it may end; a star marks what cannot be left out. This page is made from
the service's own OpenAPI document, which a running service gives at `/openapi.json`, and shows at `/docs` with a
form to try each route. Who may call is told in [security](security.md).
"""
TITLES = {"operation": "Operation", "openai": "OpenAI", "anthropic": "Anthropic", "ollama": "Ollama"}


def reference() -> str:
    """The page of the service as it is in this repository."""
    return page(openapi())


def openapi() -> Json:
    """The OpenAPI document, asked of a service that listens nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_ask(Path(folder)))


async def _ask(folder: Path) -> Json:
    settings = load(None, {"ENGINEHOUSE_DATA_DIR": str(folder)})
    said: list[bytes] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message.get("body", b""))

    async with open_house(settings, {}) as house:
        await house.asgi(_scope("/openapi.json"), receive, send)
    return msgspec.json.decode(b"".join(said))


def _scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def page(document: Json) -> str:
    """An OpenAPI document as a page of Markdown, by tag."""
    tags: dict[str, list[str]] = {}
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            tag = operation.get("tags", ["other"])[0]
            tags.setdefault(tag, []).append("\n".join(_operation(path, method, operation, document)))
    parts = [HEAD]
    for tag in sorted(tags):
        parts += [f"## {TITLES.get(tag, tag.capitalize())}\n", *tags[tag]]
    return "\n".join(parts)


def _operation(path: str, method: str, operation: Json, document: Json) -> Iterator[str]:
    yield f"### {method.upper()} `{path}`\n"
    told = operation.get("description") or operation.get("summary", "")
    yield f"{_line(told)}\n"
    if operation.get("security") == []:
        yield "Wants no key.\n"
    yield from _parameters(operation.get("parameters", ()))
    yield from _body(operation.get("requestBody"), document)
    yield from _answers(operation["responses"])


def _parameters(parameters: Any) -> Iterator[str]:
    if parameters:
        yield "| parameter | in | type | meaning |\n| --- | --- | --- | --- |"
        for each in parameters:
            star = "*" if each.get("required") else ""
            kind = _kind(each.get("schema", {}))
            yield f"| `{each['name']}`{star} | {each['in']} | {kind} | {_line(each.get('description', ''))} |"
        yield ""


def _body(body: Json | None, document: Json) -> Iterator[str]:
    if body is None:
        return
    for media, content in body["content"].items():
        schema = _resolved(content.get("schema", {}), document)
        fields = schema.get("properties", {})
        if not fields:
            yield f"Body: `{media}`.\n"
            continue
        needed = set(schema.get("required", ()))
        yield f"Body, `{media}`:\n\n| field | type | meaning |\n| --- | --- | --- |"
        for name, field in fields.items():
            star = "*" if name in needed else ""
            yield f"| `{name}`{star} | {_kind(field)} | {_line(field.get('description', ''))} |"
        yield ""


def _answers(answers: Json) -> Iterator[str]:
    yield "| status | means |\n| --- | --- |"
    for status, answer in answers.items():
        media = ", ".join(f"`{name}`" for name in answer.get("content", ()) if name != "application/json")
        yield f"| {status} | {_line(answer['description'])}{f' ({media})' if media else ''} |"
    yield ""


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _kind(schema: Json) -> str:
    """A schema's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if several := schema.get("anyOf") or schema.get("oneOf"):
        kinds = dict.fromkeys(_kind(part) for part in several)
        return " or ".join(kind for kind in kinds if kind != "null") or "null"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _line(text: str) -> str:
    """Words as a cell of a table holds them."""
    return " ".join(text.split()).replace("|", "\\|")
