"""What `enginehouse keys` does, on the database itself: the first key can be made before the service runs."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from rich.table import Table

from enginehouse.api.keys import KeyBody, shown, shown_used, wanted
from enginehouse.cli.console import for_terminal, remarks, results
from enginehouse.cli.database import with_database
from enginehouse.core.audit import Audit
from enginehouse.core.identity.keys import Hasher, Key
from enginehouse.core.identity.management import Keys
from enginehouse.core.identity.secret import key_secret
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.errors import InvalidRequest
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import Database, prepare
from enginehouse.types import Principal

__all__ = ["run_create", "run_list", "run_revoke", "run_rotate", "seconds"]

T = TypeVar("T")

_OPERATOR = Principal(user="command line", role="admin", tier="admin")
_BUDGET = re.compile(r"\$?(?P<dollars>\d+(\.\d+)?)\s*(/\s*(?P<period>day|month|total))?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_COLUMNS: Mapping[str, str] = {
    "Key": "prefix",
    "Name": "name",
    "User": "user_id",
    "Tenant": "tenant",
    "Role": "role",
    "Tier": "tier",
    "Models": "models",
    "Limits": "limits",
    "Budget": "budget",
    "Status": "status",
    "Created": "created_at",
    "Expires": "expires_at",
    "Last used": "last_used_at",
}


def run_create(
    settings: Settings, fields: Mapping[str, Any], *, budget: str | None, expires: str | None, as_json: bool
) -> None:
    """Make a key; its text goes to standard output, once.

    Raises:
        InvalidRequest: it cannot be so.
        StoreUnavailable, SettingsError: the database cannot be used.
    """
    given = {name: value for name, value in fields.items() if value}
    given |= {"budget": _budget(budget)} if budget else {}
    given |= _end(expires) if expires else {}
    asked = wanted(_body(given))
    key, text = _run(settings, "create", lambda keys: keys.create(asked, _OPERATOR.user), lambda made: made[0])
    _show_once(key, text, as_json=as_json)


def run_list(settings: Settings, user: str | None, *, as_json: bool) -> None:
    """Show every key, or every one of a user's.

    Raises:
        StoreUnavailable, SettingsError: the database cannot be used.
    """
    every, used = asyncio.run(with_database(settings, partial(_with_uses, settings)))
    found = [shown_used(key, used) for key in every if user in (None, key.user_id)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if found:
        results().print(_table(found))
    elif every:
        remarks().print(for_terminal(f"{user!r} has no key."))
    else:
        remarks().print("There are no keys yet; `enginehouse keys create` makes one.")


def run_revoke(settings: Settings, key_id: str, *, as_json: bool) -> None:
    """End a key.

    Raises:
        NotFound: there is none with this id.
        StoreUnavailable, SettingsError: the database cannot be used.
    """
    key = _run(settings, "revoke", lambda keys: keys.revoke(id_in(key_id)), lambda ended: ended)
    if as_json:
        typer.echo(json.dumps(shown(key), indent=2))
    else:
        typer.echo(f"{key.id} is revoked.")


def run_rotate(settings: Settings, key_id: str, grace: str, *, as_json: bool) -> None:
    """Give a key a new text, which goes to standard output, once.

    Raises:
        NotFound, Conflict: there is none with this id, or it is revoked.
        InvalidRequest: no such time.
        StoreUnavailable, SettingsError: the database cannot be used.
    """
    span = seconds(grace)
    key, text = _run(settings, "rotate", lambda keys: keys.rotate(id_in(key_id), span), lambda made: made[0])
    _show_once(key, text, as_json=as_json)


def seconds(text: str) -> int:
    """Seconds in `30d`, `12h`, `90m`, `45s` or `45`.

    Raises:
        InvalidRequest: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,9})\s*([smhdw]?)", text.strip().lower())
    if found is None:
        raise InvalidRequest(f"{text!r} is no time; write 30d, 12h, 90m or 45s.")
    return int(found[1]) * _UNITS[found[2] or "s"]


def id_in(text: str) -> str:
    """The id, also where the shown prefix of a key was given."""
    return text.removeprefix("eh_").partition("_")[0]


async def _with_uses(settings: Settings, database: Database) -> tuple[list[Key], dict[str, int]]:
    await prepare(database)
    return await _keys(settings, database).all(), await UsageReports(database).last_used()


def _keys(settings: Settings, database: Database) -> Keys:
    return Keys(database, Hasher(key_secret(settings.auth, settings.data_dir)))


def _run(
    settings: Settings,
    action: str,
    work: Callable[[Keys], Awaitable[T]],
    changed: Callable[[T], Key],
) -> T:
    """Do it and note who was managed."""

    async def use(database: Database) -> T:
        await prepare(database)
        done = await work(_keys(settings, database))
        detail = {"key": changed(done).id}
        await Audit(database).note(_OPERATOR, f"keys {action}", "", 200, detail)
        return done

    return asyncio.run(with_database(settings, use))


def _body(fields: Mapping[str, Any]) -> KeyBody:
    try:
        return KeyBody.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{where}: {first['msg']}", param=where) from None


def _budget(text: str) -> dict[str, str]:
    found = _BUDGET.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidRequest(f"{text!r} is no budget; write 10/month, 2.50/day or 100/total.")
    return {"dollars": found["dollars"], "period": found["period"] or "month"}


def _end(text: str) -> dict[str, Any]:
    try:
        return {"expires_at": datetime.fromisoformat(text)}
    except ValueError:
        pass
    try:
        return {"expires_in": seconds(text)}
    except InvalidRequest:
        raise InvalidRequest(
            f"{text!r} is no time; write a date such as 2031-12-31, or 30d, 12h, 90m or 45s."
        ) from None


def _show_once(key: Key, text: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**shown(key), "key": text}, indent=2))
        return
    remarks().print(_table([shown(key)]))
    remarks().print("This is the key. It is not kept and cannot be shown again:")
    typer.echo(text)


def _table(rows: list[dict[str, Any]]) -> Table:
    """One row a key; columns that say nothing of any are left out."""
    cells = [{title: _cell(row.get(field)) for title, field in _COLUMNS.items()} for row in rows]
    titles = [title for title in _COLUMNS if title == "Key" or any(row[title] for row in cells)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in cells:
        table.add_row(*(for_terminal(row[title]) for title in titles))
    return table


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case {"dollars": dollars, "period": period}:
            return f"${dollars}/{period}"
        case {"requests": requests, "tokens": tokens, "concurrent": concurrent}:
            of_tokens = tokens and tokens.replace("/", " tokens/")
            return ", ".join(filter(None, (requests, of_tokens, concurrent and f"{concurrent} at once")))
        case tuple() | list():
            return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType] - JSON
        case str() if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+Z", value):
            return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        case _:
            return str(value)
