"""`enginehouse keys`: made, listed, rotated and revoked without a service."""

import asyncio
import json
import re

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from enginehouse.cli import app
from enginehouse.cli.keys.run import run_create, run_list, run_revoke, run_rotate, seconds
from enginehouse.core.access import Access
from enginehouse.core.audit import Audit
from enginehouse.errors import Conflict, InvalidRequest, MissingCredentials, NotFound
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import database_url, open_database

KEY = re.compile(r"eh_[a-z2-7]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def settings(tmp_path):
    return Settings.model_validate({"data_dir": str(tmp_path)})


@pytest.fixture(autouse=True)
def _no_logs():
    """The commands set the logs up before they do anything; here nobody has."""
    with capture_logs():
        yield


@pytest.fixture
def said(capsys):
    """What was printed since the last time."""
    return lambda: capsys.readouterr().out


def who(settings, key):
    """As the service would say."""

    async def ask():
        async with (
            open_database(database_url("", settings.data_dir)) as database,
            Access(settings, database) as access,
        ):
            return await access.identity.principal(None, key)

    return asyncio.run(ask())


def create(settings, *, budget=None, expires=None, as_json=True, **fields):
    run_create(settings, fields, budget=budget, expires=expires, as_json=as_json)


def test_the_first_key_is_made_before_the_service_runs(settings, capsys):
    create(settings, as_json=False, name="mine", user_id="ann", role="admin")
    out, err = capsys.readouterr()
    assert KEY.fullmatch(out.strip())
    assert "cannot be shown again" in err
    assert "mine" in err
    holder = who(settings, out.strip())
    assert (holder.user, holder.role) == ("ann", "admin")


def test_all_that_may_be_said(settings, said):
    create(settings, user_id="ann", models=["llama*"], tags=["ci"], budget="$2.50/day", expires="30d",
           limits={"requests": "5/minute", "tokens": None, "concurrent": 2})  # fmt: skip
    made = json.loads(said())
    assert made["budget"] == {"dollars": "2.50", "period": "day"}
    assert made["limits"] == {"requests": "5/minute", "tokens": None, "concurrent": 2}
    assert made["expires_at"] is not None
    holder = who(settings, made["key"])
    assert (holder.models, holder.tags, holder.limits.concurrent) == (("llama*",), ("ci",), 2)


def test_the_list_tells_no_key(settings, said):
    for user in ("ann", "bob"):
        create(settings, user_id=user, expires="2099-01-01")
    text = said()
    run_list(settings, None, as_json=False)
    table = said()
    assert "ann" in table
    assert "2099-01-01" in table
    assert not KEY.search(table)
    run_list(settings, "bob", as_json=True)
    (row,) = json.loads(said())
    assert (row["user_id"], row["status"]) == ("bob", "active")
    assert "key" not in row
    assert row["last_used_at"] is None
    assert row["prefix"].removesuffix("…") in text


def test_rotated_and_revoked(settings, said):
    create(settings, user_id="ann")
    made = json.loads(said())
    run_rotate(settings, made["prefix"], "0s", as_json=True)
    rotated = json.loads(said())
    assert rotated["id"] == made["id"]
    assert who(settings, rotated["key"]).user == "ann"
    with pytest.raises(MissingCredentials):
        who(settings, made["key"])
    run_revoke(settings, made["id"], as_json=False)
    assert said() == f"{made['id']} is revoked.\n"
    with pytest.raises(MissingCredentials):
        who(settings, rotated["key"])
    with pytest.raises(Conflict):
        run_rotate(settings, made["id"], "1d", as_json=True)
    run_revoke(settings, made["id"], as_json=True)
    assert json.loads(said())["status"] == "revoked"


def test_what_was_done_is_noted(settings, said):
    create(settings)
    key_id = json.loads(said())["id"]
    run_revoke(settings, key_id, as_json=True)

    async def noted():
        async with open_database(database_url("", settings.data_dir)) as database:
            return await Audit(database).latest()

    actions = asyncio.run(noted())
    assert [one.action for one in actions] == ["keys revoke", "keys create"]
    assert {one.detail["key"] for one in actions} == {key_id}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"limits": {"requests": "often"}}, "no rate"),
        ({"budget": "much"}, "budget"),
        ({"budget": "5/year"}, "budget"),
        ({"expires": "soon"}, "no time"),
        ({"expires": "2001-01-01"}, "future"),
        ({"role": "service"}, "service's own"),
    ],
)
def test_mistakes_are_named(settings, fields, named):
    with pytest.raises(InvalidRequest, match=named):
        create(settings, **fields)


def test_a_key_that_is_not_there(settings):
    with pytest.raises(NotFound):
        run_revoke(settings, "nobody", as_json=True)


@pytest.mark.parametrize(
    ("text", "span"), [("45", 45), ("45s", 45), ("90m", 5400), ("12h", 43_200), ("2 w", 1_209_600)]
)
def test_times_in_words(text, span):
    assert seconds(text) == span


def test_the_command_line_takes_all_of_it(tmp_path):
    runner, environ = CliRunner(), {"ENGINEHOUSE_DATA_DIR": str(tmp_path)}
    said = "keys create --user ann --model m --tag t --requests 5/hour --budget 1/total --expires 1d --json"
    made = runner.invoke(app, said.split(), env=environ)
    assert made.exit_code == 0, made.output
    key_id = json.loads(made.stdout)["id"]
    for arguments in (["rotate", key_id, "--grace", "1h"], ["revoke", key_id], ["list"]):
        done = runner.invoke(app, ["keys", *arguments, "--json"], env=environ)
        assert done.exit_code == 0, done.output
    assert [row["status"] for row in json.loads(done.stdout)] == ["revoked"]


def test_who_has_no_key_is_told_how_to_make_one(settings, capsys):
    run_list(settings, None, as_json=False)
    out, err = capsys.readouterr()
    assert (out, "`enginehouse keys create` makes one" in err) == ("", True)
    create(settings, user_id="ann")
    capsys.readouterr()
    run_list(settings, "bob", as_json=False)
    out, err = capsys.readouterr()
    assert (out, "'bob' has no key" in err) == ("", True)


@pytest.mark.parametrize("budget", ["lots", "10/year", "-1/day", "1e9", "/month", " 10 / "])
def test_what_is_no_budget_is_told_in_the_words_of_the_command(settings, budget):
    with pytest.raises(InvalidRequest, match=r"no budget; write 10/month"):
        create(settings, budget=budget)


@pytest.mark.parametrize(
    ("budget", "kept"),
    [("10", ("10", "month")), ("$2.50/day", ("2.50", "day")), ("100 / Total", ("100", "total"))],
)
def test_budgets_as_people_write_them(settings, said, budget, kept):
    create(settings, budget=budget)
    made = json.loads(said())["budget"]
    assert (made["dollars"], made["period"]) == kept


def test_what_is_no_end_is_told_with_an_example(settings):
    with pytest.raises(InvalidRequest, match=r"a date such as 2031-12-31, or 30d"):
        create(settings, expires="next year")


def test_limits_are_shown_as_they_are_written(settings, said):
    create(settings, limits={"requests": "100/hour", "tokens": "5000/day", "concurrent": 3})
    said()
    run_list(settings, None, as_json=False)
    words = said().split()
    assert {"100/hour,", "tokens/day,", "once"} <= set(words)
    assert "requests" not in words
