"""Writes the pictures of the console that the documentation shows: `make screenshots`.

A real service with some traffic is looked at in a real browser; what is seen is what readers will see.
"""

import random
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import expect

from tests.integration.service import Service, Stream
from tests.integration.upstream import Upstream
from tests.integration.visitor import (
    CHAT,
    DESKTOP,
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

FOLDER = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 150 * 1024
TRAFFIC_SECONDS = 75
TALK = chat("narrow", "leave me talking", stream=True)
WAITING = [{}, {"X-Request-Priority": "high"}, {}, {}, {"X-Request-Priority": "low"}]
QUESTIONS = ["What is a lease?", "What is a slot?", "Who waits?", "What is a tenant?", "What is a resident?"]


def main() -> None:
    """All of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Upstream() as upstream,
        chromium() as browser,
        furnished(Path(folder), upstream, hostile=False) as service,
    ):
        took, weight = first_paint(browser, service)
        print(f"{took:6.2f} s   from asking for the console to its figures, {weight / 1024:.0f} KB of files")
        furnish(service)
        ask(service, CHAT, chat("smollm2", "Say hello.", max_tokens=8))
        busy(service)
        for name, scheme, viewport in SHOWN:
            with Visitor(browser, service, scheme=scheme, viewport=viewport) as visitor:
                LOOKS[name](visitor)
                take(visitor, f"console-{name}-{'phone' if viewport is PHONE else scheme}")
        with Visitor(browser, service) as visitor:
            queue(visitor)


def busy(service: Service) -> None:
    """Let there be something in the charts: requests that come and go for a while."""
    end = time.monotonic() + TRAFFIC_SECONDS
    people = [threading.Thread(target=caller, args=(service, end, seed)) for seed in range(3)]
    for person in people:
        person.start()
    for person in people:
        person.join()


def caller(service: Service, end: float, seed: int) -> None:
    chance = random.Random(seed)
    while time.monotonic() < end:
        text = chance.choice(QUESTIONS) if chance.random() < 0.4 else f"Question {chance.random():.3f}?"
        service.call(CHAT, chat("echo", text, stream=chance.random() < 0.7), {"X-API-Key": ROOT})
        time.sleep(chance.expovariate(1.0 + 0.8 * seed))


def page(where: str):
    return lambda visitor: visitor.go(where)


def one_model(visitor: Visitor) -> None:
    expect(visitor.go("models/smollm2").get_by_role("log", name="Engine log")).to_contain_text("model loaded")


def conversation(visitor: Visitor) -> None:
    tab = visitor.go("playground")
    tab.get_by_label("Model").select_option("smollm2")
    tab.get_by_label("Most tokens").fill("40")
    tab.get_by_label("Temperature").fill("0")
    tab.get_by_label("Message").fill("What is a locomotive? Answer in one sentence.")
    tab.get_by_label("Message").press("Enter")
    expect(tab.locator(".turn-foot")).to_contain_text("tokens", timeout=90_000)


def one_request(visitor: Visitor) -> None:
    newest = ask(visitor.service, "/v1/telemetry/requests?model=smollm2&cache=miss&limit=1")["data"][0]
    visitor.go(f"requests/{newest['id']}")


LOOKS = {
    "overview": page("overview"),
    "models": one_model,
    "playground": conversation,
    "requests": page("requests"),
    "request": one_request,
    "usage": page("usage"),
    "keys": page("keys"),
    "cache": page("cache"),
    "settings": page("settings"),
}


SHOWN = [
    ("overview", "light", DESKTOP),
    ("overview", "dark", DESKTOP),
    ("overview", "light", PHONE),
    ("models", "dark", DESKTOP),
    ("models", "light", PHONE),
    ("playground", "light", DESKTOP),
    ("request", "light", DESKTOP),
    ("requests", "dark", DESKTOP),
    ("usage", "light", DESKTOP),
    ("keys", "light", DESKTOP),
    ("cache", "dark", DESKTOP),
    ("settings", "light", DESKTOP),
]
"""What is looked at, in which colours and how large."""


def queue(visitor: Visitor) -> None:
    """With somebody in it."""
    streams = [Stream(visitor.service, CHAT, TALK, headers={"X-API-Key": ROOT, **more}) for more in WAITING]
    visitor.go("queue")
    expect(visitor.figure("Waiting")).not_to_have_text("0")
    take(visitor, "console-queue-light")
    for stream in streams:
        stream.hang_up()


def take(visitor: Visitor, name: str) -> None:
    """One picture, small enough to be kept with the code."""
    visitor.page.wait_for_timeout(1200)
    file = FOLDER / f"{name}.png"
    visitor.page.screenshot(path=file)
    print(f"{file.stat().st_size / 1024:6.0f} KB  {file.name}")
    assert file.stat().st_size <= LARGEST, f"{file} is too large"


if __name__ == "__main__":
    main()
