"""The console in a real browser: every page on live data, every action, and nothing that should not be.

One service and one browser serve all of it; each test has a tab of its own.
"""

import json
import re
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.integration.redis_server import RedisServer
from tests.integration.service import Service, Stream
from tests.integration.upstream import Upstream
from tests.integration.visitor import (
    CHAT,
    EVIL,
    PHONE,
    ROOT,
    Visitor,
    ask,
    chat,
    chromium,
    first_paint,
    furnish,
    furnished,
)

PAGES = {
    "overview": "Overview",
    "models": "Models",
    "models/smollm2": "Models",
    "queue": "Queue",
    "requests": "Requests",
    "requests/errors": "Requests",
    "playground": "Playground",
    "playground/classify": "Playground",
    "playground/search": "Playground",
    "sessions": "Sessions",
    "sessions/first": "Good morning",
    "usage": "Usage & cost",
    "keys": "Keys & limits",
    "keys/audit": "Keys & limits",
    "cache": "Cache",
    "settings": "Settings",
}
FIRST_PAINT = 300 * 1024
TEXTS = ["The cat sleeps on the sofa.", "The stock market fell today.", "A lion hunts at night."]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Upstream() as upstream, furnished(tmp_path_factory.mktemp("console"), upstream) as running:
        furnish(running)
        yield running


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, service):
    """Opens tabs; when the test is over, no tab may have met an error or have asked anybody else."""
    with_tabs = []

    def open_tab(where=None, **how):
        visitor = Visitor(browser, service, **how)
        with_tabs.append(visitor)
        if where is not None:
            visitor.go(where)
        return visitor

    yield open_tab
    for visitor in with_tabs:
        visitor.__exit__(None)


# What is shown


def test_every_page_opens(visit):
    visitor = visit()
    for where, title in PAGES.items():
        page = visitor.go(where)
        expect(page.locator("main h1")).to_have_text(title)
        expect(page.locator("main [role=alert]")).to_have_count(0)
        expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_the_overview_agrees_with_the_service(visit, service):
    visitor = visit("overview")
    total = ask(service, "/v1/telemetry/summary")["total_requests"]
    expect(visitor.figure("Requests")).to_have_text(str(total))
    ask(service, CHAT, chat("echo", "Once more"))
    expect(visitor.figure("Requests")).to_have_text(str(total + 1))
    expect(visitor.page.locator("tbody tr").first).to_contain_text("echo")
    assert float(visitor.figure("Cost today").inner_text().strip("$")) > 0
    assert visitor.page.locator("svg[role=img]").count() == 4


def test_models_agree_and_follow_what_happens_elsewhere(visit, service):
    visitor = visit("models")
    every = ask(service, "/v1/models")["data"]
    expect(visitor.page.locator("tbody tr")).to_have_count(len(every))
    ask(service, "/v1/models/minilm/load", {})
    expect(visitor.row("minilm")).to_contain_text("ready")
    ask(service, "/v1/models/minilm/unload", {})
    expect(visitor.row("minilm")).to_contain_text("off")


def test_the_queue_agrees(visit, service):
    served = sum(line["served"] for line in ask(service, "/v1/queue/stats")["queues"].values())
    visitor = visit("queue")
    expect(visitor.figure("Served")).to_have_text(str(served))
    expect(visitor.row("echo")).to_be_visible()
    shown = visitor.page.locator("tbody tr").count()
    visitor.page.get_by_label("Models that nobody asked yet too").check()
    expect(visitor.page.locator("tbody tr")).not_to_have_count(shown)


def test_those_who_wait_are_seen_as_they_come_and_go(visit, service):
    visitor = visit("queue")
    body = chat("narrow", "leave me talking", stream=True)
    key = {"X-API-Key": ROOT}
    running = Stream(service, CHAT, body, headers=key)
    running.read_until(b"word")
    waiting = [Stream(service, CHAT, body, headers={**key, "X-Request-Priority": p}) for p in ("high", "low")]
    expect(visitor.figure("Waiting")).to_have_text("2")
    expect(visitor.row("narrow")).to_contain_text("1 of 1")
    assert visitor.row("narrow").locator("td").all_inner_texts()[2:5] == ["1", "0", "1"]
    visitor.go("overview")
    expect(visitor.figure("Running")).to_have_text("1")
    for stream in (*waiting, running):
        stream.hang_up()
    expect(visitor.figure("Running")).to_have_text("0")


def test_usage_agrees_and_comes_as_a_file(visit, service):
    visitor = visit("usage")
    told = ask(service, "/v1/llm/usage")
    expect(visitor.figure("Requests")).to_have_text(str(told["total_requests"]))
    assert float(visitor.figure("Cost").inner_text().strip("$")) == pytest.approx(told["total_cost"], rel=0.01)
    visitor.page.get_by_label("Group by").select_option("user")
    expect(visitor.row("admin")).to_be_visible()
    with visitor.page.expect_download() as begun:
        visitor.page.get_by_role("button", name="CSV").click()
    assert begun.value.suggested_filename.endswith(".csv")
    head, *lines = begun.value.path().read_text().splitlines()
    assert head.startswith("user,")
    assert lines


def test_the_cache_agrees(visit, service):
    told = ask(service, "/v1/cache/stats")
    visitor = visit("cache")
    expect(visitor.figure("Kept")).to_have_text(str(told["entries"]))
    expect(visitor.figure("Misses")).to_have_text(str(told["misses"]))


def test_settings_are_in_force_and_hold_no_secret(visit):
    visitor = visit("settings")
    visitor.page.get_by_label("Find").fill("auth.api_keys")
    expect(visitor.setting("auth.api_keys")).to_contain_text("***")
    visitor.page.get_by_label("Find").fill("cache.enabled")
    expect(visitor.setting("cache.enabled")).to_contain_text("true")
    expect(visitor.setting("cache.enabled")).to_contain_text("file")
    assert ROOT not in visitor.page.content()


# What can be done


def test_a_model_is_loaded_pinned_unpinned_and_unloaded(visit, service):
    visitor = visit("models/smollm2")
    page, row = visitor.page, visitor.row("smollm2")
    row.get_by_role("button", name="Load").click()
    expect(page.get_by_role("progressbar", name="Loading smollm2")).to_be_visible()
    expect(row).to_contain_text("ready", timeout=90_000)
    expect(page.get_by_role("progressbar")).to_have_count(0)
    row.get_by_role("button", name="Pin").click()
    expect(row).to_contain_text("pinned")
    assert ask(service, "/v1/models/smollm2/status")["pinned"] is True
    row.get_by_role("button", name="Unpin").click()
    expect(row.get_by_text("pinned", exact=True)).to_have_count(0)
    expect(page.get_by_role("log", name="Engine log")).to_contain_text("model loaded")
    expect(page.locator(".timeline")).to_contain_text("It was asked for, and there is room.")
    assert ask(service, "/vram")["models"]["smollm2"]["ram_mb"] > 0
    expect(page.locator(".pool .legend")).to_contain_text("smollm2")
    row.get_by_role("button", name="Unload").click()
    expect(row).to_contain_text("off")


def test_what_failed_is_told_and_reset(visit, service):
    service.call("/v1/models/roberta-base_pretrained/load", {}, {"X-API-Key": ROOT}, timeout=60)
    visitor = visit("models/roberta-base_pretrained")
    row = visitor.row("roberta-base_pretrained")
    expect(row).to_contain_text("failed")
    expect(visitor.page.locator(".trouble")).not_to_be_empty()
    row.get_by_role("button", name="Reset").click()
    expect(row).to_contain_text("off")


def test_a_chat_with_the_real_model_tells_its_tier_and_times(visit, service):
    visitor = visit("playground")
    page = visitor.page
    page.get_by_label("Model").select_option("smollm2")
    page.get_by_label("Most tokens").fill("4")
    page.get_by_label("Temperature").fill("0")
    say(page, "Say hello.")
    foot = page.locator(".turn-foot")
    expect(foot).to_contain_text("cache: miss", timeout=90_000)
    expect(foot).to_contain_text("first after")
    expect(foot).to_contain_text("cut off at the most tokens")
    assert page.locator(".turn.assistant .turn-text").inner_text().strip()


def test_a_repeat_is_said_to_come_from_the_cache_and_why(visit, service):
    visitor = visit("playground")
    page = visitor.page
    page.get_by_label("Model").select_option("echo")
    for _ in range(2):
        say(page, "the same again")
        expect(page.locator(".turn-foot").last).to_contain_text("cache:")
        page.get_by_role("button", name="New conversation").click()
    say(page, "the same again")
    expect(page.locator(".turn-foot")).to_contain_text("cache: exact")
    assert ask(service, "/v1/telemetry/requests?limit=1")["data"][0]["outcome"] == "completed"
    page.get_by_role("link", name="why?").click()
    expect(page.get_by_text("It was answered from the exact cache.")).to_be_visible()
    page.get_by_role("button", name="That answer was wrong").click()
    expect(page.get_by_text("never given to this question again")).to_be_visible()


def test_an_answer_is_stopped_and_the_engine_hears_of_it(visit, service):
    visitor = visit("playground")
    page = visitor.page
    page.get_by_label("Model").select_option("echo")
    say(page, "leave me talking")
    expect(page.locator(".turn.assistant .turn-text")).to_contain_text("word word")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".turn-foot")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    until(lambda: ask(service, "/v1/queue/stats")["queues"]["echo"]["active"] == 0)


def test_an_answer_keeps_to_a_schema(visit):
    visitor = visit("playground")
    page = visitor.page
    page.get_by_label("Model").select_option("echo")
    page.get_by_label("Answer in JSON").check()
    schema = {"type": "object", "properties": {"town": {}, "land": {}}}
    page.get_by_label("JSON schema").fill("{ not json")
    say(page, "schema for towns")
    expect(page.locator(".toast.bad")).to_contain_text("The schema is no JSON")
    page.get_by_label("JSON schema").fill(json.dumps(schema))
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn.assistant .turn-text")).to_have_text('{"keys": ["land", "town"]}')


def test_a_refusal_is_told_in_words(visit):
    page = visit("playground", refusals=[400]).page
    page.get_by_label("Model").select_option("echo")
    say(page, "error please")
    expect(page.locator(".turn .trouble")).to_contain_text("You asked for it.")


def test_a_text_is_classified(visit):
    page = visit("playground/classify").page
    page.get_by_label("Classifier").select_option("guard")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".bars .bar-row").first).to_contain_text("system extraction")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_text("remembered")).to_be_visible()


def test_texts_are_found_by_their_meaning(visit):
    page = visit("playground/search").page
    page.get_by_role("button", name="New collection").click()
    page.get_by_role("dialog").get_by_label("Name").fill("animals")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("textbox", name="Texts").fill("\n".join(TEXTS))
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("3 points")).to_be_visible()
    page.get_by_label("Question").fill("a kitten takes a nap")
    page.get_by_label("Question").press("Enter")
    expect(page.locator(".bars .bar-row").first).to_contain_text("The cat sleeps on the sofa.")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There is no collection")).to_be_visible()


def test_a_conversation_is_gone_on_with_renamed_and_deleted(visit, service):
    ask(service, "/api/v1/inference/chat", {"session_id": "mine", "prompt": "Remember this", "model": "echo"})
    visitor = visit("sessions/mine")
    page = visitor.page
    expect(page.locator(".turn")).to_have_count(2)
    with page.expect_download() as begun:
        page.get_by_role("button", name="Markdown").click()
    assert "Remember this" in begun.value.path().read_text()
    page.get_by_role("link", name="Go on with it").click()
    expect(page.locator(".turn")).to_have_count(2)
    say(page, "and this")
    expect(page.locator(".turn.assistant").last).to_contain_text("and this")
    visitor.go("sessions")
    expect(visitor.row("Remember this")).to_contain_text("4")
    visitor.row("Remember this").get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Title").fill("A new name")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    visitor.row("A new name").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(visitor.row("A new name")).to_have_count(0)
    ask(service, "/api/v1/sessions/mine", wanted=404)


def test_a_key_is_made_shown_once_used_changed_rotated_and_revoked(visit, service):
    visitor = visit("keys", refusals=[400])
    page = visitor.page
    page.get_by_role("button", name="New key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("robot")
    page.get_by_role("dialog").get_by_label("Requests").fill("a lot")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("limits")
    page.get_by_role("dialog").get_by_label("Requests").fill("50/hour")
    page.get_by_role("dialog").get_by_label("Budget in dollars").fill("2.50")
    page.get_by_role("button", name="Make it").click()
    key = page.locator(".secret code").inner_text()
    assert ask(service, "/v1/me", key=key)["limits"]["requests"] == "50/hour"
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text("Tier premium")).to_be_visible()
    expect(visitor.row("robot")).to_contain_text("$2.50 / month")
    assert key not in page.content()
    visitor.row("robot").get_by_role("button", name="Edit").click()
    page.get_by_role("dialog").get_by_label("Requests").fill("")
    page.get_by_role("button", name="Change it").click()
    expect(visitor.row("robot")).not_to_contain_text("50/hour")
    visitor.row("robot").get_by_role("button", name="Rotate").click()
    page.get_by_label("The old one counts for").select_option("0")
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    rotated = page.locator(".secret code").inner_text()
    page.get_by_role("button", name="I have kept it").click()
    assert rotated != key
    until(lambda: service.call("/v1/me", None, {"X-API-Key": key})[0] == 401)
    visitor.row("robot").get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(visitor.row("robot")).to_have_count(0)
    visitor.go("keys/audit")
    expect(page.locator("tbody tr").first).to_contain_text("DELETE /v1/keys/")


def test_requests_are_narrowed_and_one_shows_its_way(visit, service):
    visitor = visit("requests")
    page = visitor.page
    page.get_by_label("Outcome").select_option("failed")
    expect(page.locator("tbody tr").first).to_contain_text("invalid_request_error")
    expect(visitor.row("completed")).to_have_count(0)
    page.get_by_label("Outcome").select_option("")
    page.get_by_label("Cache").select_option("exact")
    expect(visitor.row("miss")).to_have_count(0)
    page.locator("tbody tr a").first.click()
    expect(page.get_by_role("group", name="Where its time went")).to_contain_text("in all")
    told = ask(service, "/v1/telemetry/requests?cache=exact")["data"][0]
    expect(page.locator("main code").first).to_have_text(told["request_id"])
    visitor.go("requests/errors")
    expect(page.locator("tbody")).to_contain_text("You asked for it.")


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(visit):
    visitor = visit("requests")
    page, held = visitor.page, []

    def hold(route):
        held.append(route)

    page.route(re.compile("outcome=failed"), hold)
    page.get_by_label("Outcome").select_option("failed")
    page.get_by_label("Outcome").select_option("completed")
    expect(visitor.row("invalid_request_error")).to_have_count(0)
    with page.expect_response(re.compile("outcome=failed")):
        held[0].continue_()
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
    expect(visitor.row("invalid_request_error")).to_have_count(0)


def test_the_cache_is_purged_when_somebody_is_sure(visit, service):
    ask(service, CHAT, chat("echo", "to be purged"))
    visitor = visit("cache")
    page = visitor.page
    page.get_by_role("button", name="Purge").click()
    page.get_by_role("button", name="Cancel").click()
    assert ask(service, "/v1/cache/stats")["entries"] > 0
    page.get_by_role("button", name="Purge").click()
    page.get_by_role("dialog").get_by_role("button", name="Purge").click()
    expect(visitor.figure("Kept")).to_have_text("0")
    assert ask(service, "/v1/cache/stats")["entries"] == 0


# Who may, and what is kept


def test_a_key_is_wanted_and_stays_in_the_tab(visit):
    visitor = visit(key=None, refusals=[401])
    page = visitor.page
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{visitor.origin}/console")
    page.get_by_label("API key or token").fill("eh_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("No such key")
    page.get_by_label("API key or token").fill("schlüssel ✓")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("key")
    page.get_by_label("API key or token").fill(ROOT)
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text("Overview")
    assert page.evaluate("sessionStorage.getItem('enginehouse.key')") == ROOT
    assert ROOT not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    assert not [url for url in asked if ROOT in url]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key or token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_that_counts_no_more_leads_back_to_the_door(visit, service):
    made = ask(service, "/v1/keys", {"name": "short", "role": "admin"}, wanted=201)
    visitor = visit("queue", key=made["key"], refusals=[401])
    service_delete(service, f"/v1/keys/{made['id']}")
    expect(visitor.page.get_by_role("alert")).to_contain_text("does not count any more")


def test_users_see_their_own_and_manage_nothing(visit, service):
    made = ask(service, "/v1/keys", {"name": "bob", "user_id": "bob", "models": ["echo"]}, wanted=201)
    visitor = visit("models", key=made["key"])
    page = visitor.page
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name="Load")).to_have_count(0)
    expect(page.get_by_role("link", name="Keys & limits")).to_have_count(0)
    expect(page.get_by_role("link", name="Settings")).to_have_count(0)
    visitor.go("settings")
    expect(page.locator("main h1")).to_have_text("Overview")
    visitor.go("requests")
    expect(page.get_by_text("Nothing was asked yet")).to_be_visible()
    visitor.go("usage")
    expect(page.get_by_text("Nothing was asked in these days")).to_be_visible()


def test_without_keys_nobody_is_asked_and_the_first_key_is_warned_of(browser, tmp_path):
    with (
        Service(tmp_path, {"data_dir": str(tmp_path / "data")}) as opened,
        Visitor(browser, opened, key=None) as visitor,
    ):
        page = visitor.go("keys")
        page.get_by_role("button", name="New key").click()
        expect(page.get_by_role("dialog")).to_contain_text("This is the first key")
        page.get_by_role("button", name="Make it").click()
        page.get_by_role("button", name="I have kept it").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.get_by_role("button", name="Sign out")).to_have_count(1)


def test_several_replicas_are_seen_as_one_service(browser, tmp_path):
    with Upstream() as upstream, RedisServer(tmp_path) as redis:
        theirs = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
        config = {
            "default_models": False,
            "auth": {"api_keys": [ROOT], "key_secret": "k" * 40},
            "stores": {"redis_url": redis.url},
            "models": {"far": theirs},
        }
        folders = [tmp_path / name for name in ("here", "there")]
        for folder in folders:
            folder.mkdir()
        with (
            Service(folders[0], {**config, "data_dir": str(folders[0])}) as here,
            Service(folders[1], {**config, "data_dir": str(folders[1])}) as there,
            Visitor(browser, here, key=ROOT) as visitor,
        ):
            page = visitor.go("overview")
            expect(page.get_by_role("region", name="Replicas").locator("tbody tr")).to_have_count(2)
            ask(there, CHAT, chat("far", "Who is there?"))
            expect(visitor.figure("Requests")).to_have_text("1")
            expect(page.get_by_role("link", name="far")).to_be_visible()
            visitor.go("models")
            expect(visitor.row("far")).to_contain_text("1 of 2 replicas")


# Hostile texts


def test_hostile_names_are_names_everywhere(visit, service):
    ask(service, "/v1/keys", {"name": EVIL, "user_id": EVIL}, wanted=201)
    ask(service, "/api/v1/sessions", {"title": EVIL, "id": "evil"}, wanted=201)
    ask(service, CHAT, chat(EVIL, EVIL))
    visitor = visit("models")
    page = visitor.page
    visitor.row(EVIL).get_by_role("link", name=EVIL).click()
    expect(page.locator("section.card h2").filter(has_text=EVIL)).to_be_visible()
    for where in ("keys", "sessions", "requests", "overview", "usage", "playground"):
        visitor.go(where)
        expect(page.locator("main").get_by_text("<img").first).to_be_attached()
    page.get_by_label("Model").select_option(EVIL)
    say(page, "<script>document.title='owned'</script>")
    expect(page.locator(".turn.assistant .turn-text")).to_contain_text("<script>document.title='owned'</script>")
    assert page.locator("main img, main script, main b[onclick]").count() == 0
    assert "owned" not in page.title()


def test_markup_cannot_be_made_of_text_at_all(visit):
    page = visit("queue", forgiven="TrustedHTML").page
    tried = "() => { try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch (e) { return e.name } }"
    assert page.evaluate(tried) == "TypeError"


def test_odd_addresses_lead_somewhere(visit):
    visitor = visit(refusals=[404])
    for where in ("nowhere", "models/%E0%A4%A", "models/%2e%2e%2f%2e%2e", "requests/unknown", "constructor"):
        visitor.go(where)


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_anybodys_way(browser, service, scheme):
    # The auditor is injected into the page, which the policy rightly forbids.
    with Visitor(browser, service, scheme=scheme, bypass_csp=True) as visitor:
        found = {}
        # What is dark has the same structure, and other colours.
        rules = {"resultTypes": ["violations"], **({"runOnly": ["color-contrast"]} if scheme == "dark" else {})}
        for where in PAGES:
            page = visitor.go(where)
            violations = Axe().run(page, options=rules).response["violations"]
            serious = [v for v in violations if v["impact"] in {"serious", "critical"}]
            found |= {(where, v["id"]): [node["html"][:120] for node in v["nodes"]] for v in serious}
        assert not found, found


def test_nothing_is_wider_than_a_phone(visit):
    visitor = visit(viewport=PHONE)
    wide = {where: visitor.go(where).evaluate("document.documentElement.scrollWidth") for where in PAGES}
    assert set(wide.values()) == {PHONE["width"]}, wide


def test_the_menu_of_a_phone(visit):
    page = visit("queue", viewport=PHONE).page
    expect(page.get_by_role("link", name="Cache")).to_have_count(0)
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Cache").click()
    expect(page.locator("main h1")).to_have_text("Cache")
    expect(page.get_by_role("link", name="Models")).to_have_count(0)


def test_the_keyboard_is_enough(visit, service):
    ask(service, "/v1/models/nanoguard/unload", {})
    visitor = visit("queue")
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the page")).to_be_focused()
    tab_to(page, "Models")
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text("Models")
    expect(page.locator("main h1")).to_be_focused()
    tab_to(page, "Load nanoguard")
    page.keyboard.press("Enter")
    expect(visitor.row("nanoguard")).to_contain_text("ready")
    visitor.go("cache")
    tab_to(page, "Purge")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_is_drawn_anew_keeps_the_focus_and_what_was_typed(visit, service):
    page = visit("models").page
    page.get_by_label("Find").type("mini")
    ask(service, "/v1/models/minilm/unload", {})
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("off")
    expect(page.get_by_label("Find")).to_be_focused()
    expect(page.get_by_label("Find")).to_have_value("mini")


def test_light_and_dark_are_kept(visit):
    visitor = visit("queue", scheme="light")
    page = visitor.page
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    expect(page.locator("main h1")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark != light


# How it comes


def test_the_first_paint_is_light(browser, service):
    _, weight = first_paint(browser, service)
    assert 20_000 < weight <= FIRST_PAINT


def test_a_file_that_is_known_is_not_sent_again(browser, service):
    with Visitor(browser, service) as visitor:
        visitor.go("queue")
        statuses = []
        visitor.page.on("response", lambda answer: statuses.append(answer.status) if ".js" in answer.url else None)
        visitor.page.reload()
        expect(visitor.page.locator("main h1")).to_be_visible()
        assert set(statuses) <= {200, 304}


def test_the_stream_is_taken_up_again(visit, service):
    visitor = visit("queue")
    page = visitor.page
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    visitor.context.set_offline(True)
    visitor.context.set_offline(False)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def say(page, text):
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def tab_to(page, name):
    """Press Tab until what has this name is in focus."""
    script = "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    for _ in range(80):
        page.keyboard.press("Tab")
        if re.fullmatch(name, page.evaluate(script).strip()):
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def service_delete(service, path):
    import urllib.request

    request = urllib.request.Request(service.url + path, method="DELETE", headers={"X-API-Key": ROOT})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def test_a_tab_that_nobody_looks_at_holds_no_connection(visit):
    tab = visit()
    tab.page.clock.install()
    tab.go("overview")
    expect(tab.page.locator(".link-state")).to_have_text("Live")
    with tab.page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/events")):
        look(tab.page, away=True)
        tab.page.clock.fast_forward(60_000)
    with tab.page.expect_request(re.compile("/v1/events$")):
        look(tab.page, away=False)
    expect(tab.page.locator(".link-state")).to_have_text("Live")


def look(page, *, away):
    page.evaluate(
        """away => {
            Object.defineProperty(document, "hidden", { value: away, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        away,
    )
