"""Conversations over HTTP: each owner's own, and no admin's. What is said in them comes by the chat routes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from msgspec import UNSET, Meta, Struct, UnsetType

from enginehouse.api.dialect import decode
from enginehouse.api.openapi import UNKNOWN, Responses, body_of
from enginehouse.core.sessions import Archive, Changes
from enginehouse.core.sessions.export import as_json, as_markdown, branch_of, message_body, session_body
from enginehouse.types.generation import Json

__all__ = ["sessions_router"]

Aside: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function where it does not keep the loop waiting: `asyncio.to_thread`."""

_FILES = {"json": "application/json", "markdown": "text/markdown; charset=utf-8"}
_ENDINGS = {"json": "json", "markdown": "md"}
_EXPORT: Responses = {200: {"content": {"application/json": {}, "text/markdown": {}}}}
_NO_MODEL: Responses = {404: {"description": "No such session, message or model."}}
_TAKEN: Responses = {**UNKNOWN, 409: {"description": "There is one of this id, or there are too many."}}


class SessionChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """`PATCH /api/v1/sessions/{id}`: what is left out stays as it is."""

    title: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    """Who answers from now on; null takes the default one."""
    system: str | UnsetType | None = UNSET
    """The system prompt from now on."""
    metadata: Json | UnsetType = UNSET
    """The caller's own notes; at most 16 KiB."""
    leaf: str | UnsetType = UNSET
    """An answer, whose branch is gone on with."""


class NewSession(Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/v1/sessions`."""

    id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    """The caller's own name for it, unique among the caller's; the service chooses one when left out."""
    title: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    system: str | UnsetType | None = UNSET
    metadata: Json | UnsetType = UNSET


_new = msgspec.json.Decoder(NewSession)
_changes = msgspec.json.Decoder(SessionChanges)

Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=256)]


def sessions_router(archive: Archive, aside: Aside = asyncio.to_thread) -> APIRouter:
    """`/api/v1/sessions`."""
    router = APIRouter(prefix="/api/v1/sessions", tags=["sessions"])
    _add_all(router, archive)
    _add_one(router, archive)
    _add_messages(router, archive, aside)
    return router


def _add_all(router: APIRouter, archive: Archive) -> None:
    @router.get("")
    async def sessions(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """The caller's sessions, the last changed first."""
        page = await archive.page(request.state.principal, cursor, limit)
        return _json(
            {
                "object": "list",
                "data": [session_body(session) for session in page.sessions],
                "has_more": page.cursor is not None,
                "next_cursor": page.cursor,
            }
        )

    @router.post("", status_code=201, responses=_TAKEN, openapi_extra=body_of(NewSession, required=False))
    async def create(request: Request) -> Response:
        """Make a session, before anything is said in it; a chat that names a new one makes it as well."""
        body = decode(await request.body() or b"{}", _new)
        return _json(session_body(await archive.create(request.state.principal, body.id, _wanted(body))), 201)


def _add_one(router: APIRouter, archive: Archive) -> None:
    @router.get("/{session_id}")
    async def session(request: Request, session_id: str) -> Response:
        """One session."""
        return _json(session_body(await archive.get(request.state.principal, session_id)))

    @router.patch("/{session_id}", responses=_NO_MODEL, openapi_extra=body_of(SessionChanges))
    async def change(request: Request, session_id: str) -> Response:
        """Rename it, give it another model or system prompt, or go on with another branch."""
        body = decode(await request.body(), _changes)
        return _json(session_body(await archive.change(request.state.principal, session_id, _wanted(body))))

    @router.delete("/{session_id}")
    async def delete(request: Request, session_id: str) -> Response:
        """Delete it for good, with its messages and the caller's cached answers of it."""
        await archive.delete(request.state.principal, session_id)
        return _json({"id": session_id, "object": "session", "deleted": True})


def _add_messages(router: APIRouter, archive: Archive, aside: Aside) -> None:
    @router.get("/{session_id}/messages", responses=_NO_MODEL)
    async def messages(
        request: Request,
        session_id: str,
        limit: Limit = 100,
        cursor: Cursor = None,
        branch: Annotated[
            str | None,
            Query(
                description="The message with which it ends, or `all`; else the one gone on with.", max_length=64
            ),
        ] = None,
    ) -> Response:
        """What was said on a branch, the first message first; or all of it, in the order in which it was said."""
        page = await archive.messages(request.state.principal, session_id, branch, cursor, limit)
        return _json(
            {
                "object": "list",
                "session_id": page.session.id,
                "leaf": page.session.leaf,
                "data": [message_body(counted, page.session.id) for counted in page.messages],
                "has_more": page.cursor is not None,
                "next_cursor": page.cursor,
            }
        )

    @router.get("/{session_id}/export", responses=_EXPORT)
    async def export(
        request: Request,
        session_id: str,
        format: Annotated[  # noqa: A002 - what it is called in the address
            Literal["json", "markdown"],
            Query(description="`json` has every branch, `markdown` the one gone on with."),
        ] = "json",
    ) -> Response:
        """The whole conversation as a file."""
        session, counted = await archive.everything(request.state.principal, session_id)
        if format == "json":
            body = await aside(as_json, session, counted)
        else:
            body = await aside(as_markdown, session, branch_of(session, counted))
        name = quote(f"{session.id}.{_ENDINGS[format]}", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(body, media_type=_FILES[format], headers=headers)


def _wanted(body: NewSession | SessionChanges) -> Changes:
    """What a body says; null is what there is without it."""
    model, system = ("" if value is None else value for value in (body.model, body.system))
    leaf = body.leaf if isinstance(body, SessionChanges) else UNSET
    return Changes(title=body.title, model=model, system=system, metadata=body.metadata, leaf=leaf)


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
