"""Collections of vectors over HTTP, as M1 has them, with scrolling, counting and streams of NDJSON beside.

NDJSON is one JSON object a line. Points come in that way without the limit on bodies, since no more than a piece of
them is ever held unread; whole collections go out that way.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from enginehouse.api.dialect import decode, error_body
from enginehouse.api.openapi import LOADS, Responses, body_of
from enginehouse.api.vector_bodies import (
    CountBody,
    CreateBody,
    DeleteBody,
    PointsBody,
    ScrollBody,
    SearchBody,
    hit_body,
    named,
    new_of,
    pages_of,
    query_of,
    state_body,
)
from enginehouse.core.vectors.batch import Asker, Batch
from enginehouse.core.vectors.points import PointBody
from enginehouse.core.vectors.vectors import Hit, Vectors
from enginehouse.errors import CallerGone, EnginehouseError, InvalidRequest, RequestTooLarge

__all__ = ["vectors_router"]

Aside = Callable[..., Awaitable[Any]]
"""Runs a function where it does not keep the loop waiting: `asyncio.to_thread`."""

_NDJSON = "application/x-ndjson"
_PIECE = 256 * 1024
"""Bytes of lines that are read at a time."""
_LONGEST_LINE = 4 * 1024 * 1024
_PAGE = 256
"""Points of a stream that are read from the store at a time."""

_create = msgspec.json.Decoder(CreateBody)
_points = msgspec.json.Decoder(PointsBody)
_point = msgspec.json.Decoder(PointBody)
_search = msgspec.json.Decoder(SearchBody)
_delete = msgspec.json.Decoder(DeleteBody)
_scroll = msgspec.json.Decoder(ScrollBody)
_count = msgspec.json.Decoder(CountBody)

_MISSING: Responses = {
    404: {"description": "No such collection, or embedding model."},
    503: {"description": "The store of vectors cannot be reached."},
}
_EMBEDS: Responses = {
    **LOADS,
    409: {
        "description": "The collection and the points do not fit, or its model was unloaded while it was loading."
    },
    502: {"description": "The engine of the collection's model refused, or died."},
}
_LINES: Responses = {200: {"content": {_NDJSON: {}}}}


def vectors_router(vectors: Vectors, aside: Aside = asyncio.to_thread) -> APIRouter:
    """`/v1/vector/collections`, `/v1/vector/points` and `/v1/vector/search`."""
    router = APIRouter(prefix="/v1/vector", tags=["vectors"], responses=_MISSING)
    _add_collections(router, vectors)
    _add_points(router, vectors, aside)
    return router


def _add_collections(router: APIRouter, vectors: Vectors) -> None:
    @router.post("/collections", status_code=201, responses=_EMBEDS, openapi_extra=body_of(CreateBody))
    async def create(request: Request) -> Response:
        """Make a collection; without `vector_size` it takes what its `embedding_model` gives."""
        new = new_of(decode(await request.body(), _create))
        return _json(state_body(await vectors.create(new, _asker(request))), 201)

    @router.get("/collections")
    async def collections(request: Request) -> Response:
        """The caller's collections, or those of its tenant."""
        states = await vectors.states(request.state.principal)
        return _json({"collections": [state_body(state) for state in states]})

    @router.get("/collections/{name}")
    async def collection(request: Request, name: str) -> Response:
        """One collection: what it was made as, how many points it has, and whether they are in the search graph."""
        return _json(state_body(await vectors.state(request.state.principal, name)))

    @router.delete("/collections/{name}")
    async def drop(request: Request, name: str) -> Response:
        """Delete a collection with all its points."""
        await vectors.drop(request.state.principal, name)
        return _json({"name": name, "deleted": True})


def _add_points(router: APIRouter, vectors: Vectors, aside: Aside) -> None:
    @router.post("/points", responses=_EMBEDS, openapi_extra=body_of(PointsBody))
    async def upsert(request: Request, collection_name: str | None = None) -> Response:
        """Store up to 10,000 points, all or none, over those that have their ids.

        As JSON, or as NDJSON with a point a line and `?collection_name=`. A point has a `vector`, or a `text` that
        the collection's model embeds.
        """
        asker = _asker(request)
        if request.headers.get("content-type", "").startswith(_NDJSON):
            name = _asked(collection_name)
            batch = await vectors.batch(asker.principal, name)
            await _fill(batch, _lines(request), aside)
        else:
            body = await request.body()
            points = await aside(_points_of, body)
            name = named(points)
            batch = await vectors.batch(asker.principal, name)
            await aside(_add_all, batch, points.points)
        stored, tokens = await vectors.upsert(name, batch, asker)
        return _json({"collection_name": name, "status": "completed", "upserted": stored, **_usage(tokens)})

    @router.delete("/points", openapi_extra=body_of(DeleteBody))
    async def delete(request: Request) -> Response:
        """Delete points by their ids, or all that match a filter."""
        body = decode(await request.body(), _delete)
        deleted = await vectors.delete(request.state.principal, named(body), body.ids, body.filter)
        return _json({"collection_name": named(body), "status": "completed", "deleted": deleted})

    @router.post("/search", responses=_EMBEDS, openapi_extra=body_of(SearchBody))
    async def search(request: Request) -> Response:
        """The nearest points, best first: to a vector, or to a text that the collection's model embeds."""
        body = decode(await request.body(), _search)
        hits, tokens = await vectors.search(named(body), query_of(body), _asker(request))
        found = {"collection_name": named(body), "results": [hit_body(hit) for hit in hits], **_usage(tokens)}
        return await aside(_json, found)

    @router.post("/points/scroll", responses=_LINES, openapi_extra=body_of(ScrollBody))
    async def scroll(request: Request) -> Response:
        """Points in the order of their ids, a page at a time; with `Accept: application/x-ndjson` all of them."""
        body = decode(await request.body(), _scroll)
        principal, name, pages = request.state.principal, named(body), pages_of(body)
        if _NDJSON in request.headers.get("accept", ""):
            some = msgspec.structs.replace(pages, limit=_PAGE)
            return await _streamed(vectors.every(principal, name, some))
        hits, after = await vectors.page(principal, name, pages)
        return await aside(_json, {"points": [hit_body(hit) for hit in hits], "next_offset": after})

    @router.post("/points/count", openapi_extra=body_of(CountBody))
    async def count(request: Request) -> Response:
        """How many points there are, or match a filter."""
        body = decode(await request.body(), _count)
        return _json({"count": await vectors.count(request.state.principal, named(body), body.filter)})


def _asker(request: Request) -> Asker:
    return Asker(principal=request.state.principal, request_id=request.state.request_id)


def _asked(name: str | None) -> str:
    if not name:
        raise InvalidRequest("collection_name: NDJSON wants it in the address.", param="collection_name")
    return name


def _points_of(body: bytes) -> PointsBody:
    try:
        return decode(body, _points)
    except InvalidRequest as error:
        raise _told_better(body) or error from None


def _told_better(body: bytes) -> InvalidRequest | None:
    """Python's own writer puts NaN and Infinity into what is then no JSON; say at least where."""
    strange: list[str] = []
    try:
        fields = json.loads(body, parse_constant=lambda word: strange.append(word) or float(word))
        points = fields["points"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not strange:
        return None
    for index, point in enumerate(points):
        if any(word in json.dumps(point) for word in ("NaN", "Infinity")):
            where = f"points[{index}]"
            return InvalidRequest(f"{where}: it holds NaN or Infinity, which are no numbers of JSON.", param=where)
    return None


def _add_all(batch: Batch, points: list[PointBody]) -> None:
    for point in points:
        batch.add(point)


async def _fill(batch: Batch, pieces: AsyncGenerator[list[bytes]], aside: Aside) -> None:
    async for lines in pieces:
        await aside(_add_lines, batch, lines)


def _add_lines(batch: Batch, lines: list[bytes]) -> None:
    for line in lines:
        try:
            point = decode(line, _point)
        except InvalidRequest as error:
            where = f"points[{len(batch)}]"
            raise InvalidRequest(f"{where}: {error.message}", param=where) from None
        batch.add(point)


async def _lines(request: Request) -> AsyncGenerator[list[bytes]]:
    """Whole lines of a body as they come, some at a time; the body as a whole has no limit, a line has."""
    receive = request.scope["state"].get("unlimited", request.receive)
    rest = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone("The caller left while sending its points.")
        rest += message.get("body", b"")
        more = message.get("more_body", False)
        if len(rest) >= _PIECE or not more:
            *lines, rest = rest.split(b"\n") if more else (*rest.split(b"\n"), b"")
            if len(rest) > _LONGEST_LINE:
                raise RequestTooLarge(f"A line is longer than {_LONGEST_LINE} bytes.")
            yield [line for line in lines if line.strip()]


async def _streamed(pages: AsyncGenerator[list[Hit]]) -> Response:
    """The first page is read before the answer begins, so that a question that is wrong still gets a status."""
    first = await anext(pages)

    async def lines() -> AsyncGenerator[bytes]:
        try:
            yield _written(first)
            async for hits in pages:
                yield _written(hits)
        except EnginehouseError as error:
            yield msgspec.json.encode(error_body(error)) + b"\n"
        finally:
            await pages.aclose()

    return StreamingResponse(lines(), media_type=_NDJSON)


def _written(hits: list[Hit]) -> bytes:
    return b"".join([msgspec.json.encode(hit_body(hit)) + b"\n" for hit in hits])


def _usage(tokens: int) -> Mapping[str, Any]:
    return {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if tokens else {}


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")
