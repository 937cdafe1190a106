"""When to try again and when to give up, and what may be shown of an address."""

import pytest
from yarl import URL

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.network import Address, Attempts, Interrupted, Patience, Unreached, persist, shown

ADDRESS = Address(url=URL("https://h.example/f"), hint="or give a path", refusal=str)
QUICK = Patience(pauses=(0.0, 0.0))
MIB = 1 << 20


class Line:
    """A connection that fails as the script says, and then works."""

    def __init__(self, *script):
        self.script = list(script)
        self.have = 0
        self.heard = []

    async def attempt(self):
        if not self.script:
            return "done"
        step = self.script.pop(0)
        gained, error = step if isinstance(step, tuple) else (0, step)
        self.have += gained
        raise error

    async def run(self):
        return await persist(
            self.attempt, address=ADDRESS, patience=QUICK, have=lambda: self.have, waiting=self.heard.append
        )


def test_pauses_come_in_order_and_end():
    attempts = Attempts((1.0, 2.0))
    assert [attempts.failed(0), attempts.failed(0), attempts.failed(0)] == [1.0, 2.0, None]


def test_real_progress_starts_the_row_anew():
    attempts = Attempts((1.0, 2.0))
    assert attempts.failed(0) == 1.0
    assert attempts.failed(MIB) == 1.0
    assert attempts.failed(MIB + 1) == 2.0
    assert attempts.failed(MIB + 2) is None


def test_what_was_here_before_is_no_progress():
    attempts = Attempts((1.0,), have=5 * MIB)
    assert attempts.failed(5 * MIB) == 1.0
    assert attempts.failed(5 * MIB) is None


async def test_a_broken_line_is_tried_again():
    line = Line(Interrupted("it broke"), Interrupted("it broke"))
    assert await line.run() == "done"
    assert line.heard == ["it broke; next try in 0 s"] * 2


async def test_it_is_given_up_in_the_end():
    line = Line(*[Interrupted("it broke")] * 3)
    with pytest.raises(SourceError, match=r"^it broke, and 3 tries in a row did not help\. Run it again later\.$"):
        await line.run()


async def test_giving_up_with_something_here_says_that_it_can_be_gone_on_with():
    line = Line((7, Interrupted("it broke")), *[Interrupted("it broke")] * 2)
    with pytest.raises(SourceError, match="run it again to go on from there"):
        await line.run()


async def test_who_moves_on_is_never_given_up():
    assert await Line(*[(MIB, Interrupted("it broke"))] * 20).run() == "done"


async def test_nobody_there_is_said_at_once():
    line = Line(Unreached("h.example cannot be reached (no route)"))
    with pytest.raises(SourceError, match=r"cannot be reached \(no route\): check the network, or give a path\.$"):
        await line.run()
    assert line.heard == []


async def test_a_network_that_goes_away_midway_is_waited_for():
    line = Line((MIB, Interrupted("it broke")), Unreached("h.example cannot be reached"))
    assert await line.run() == "done"


async def test_an_error_that_is_final_is_not_tried_again():
    line = Line(SourceError("no such file"), Interrupted("it broke"))
    with pytest.raises(SourceError, match="no such file"):
        await line.run()
    assert len(line.script) == 1


def test_an_address_is_shown_without_secrets():
    assert shown(URL("https://user:pw@h.example/a/b?token=x#y")) == "https://h.example/a/b"
