"""The order of one line: classes, aging, turns of tenants, first in first out; whatever comes, leaves or waits."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.admission.policy import Line
from enginehouse.types import Priority

HIGH, NORMAL, LOW = Priority
AGING = 10
NEVER = float("inf")

joins = st.tuples(st.just("join"), st.sampled_from(Priority), st.sampled_from("abc"))
serves = st.just(("serve",))
leaves = st.tuples(st.just("leave"), st.integers(0, 50))
pauses = st.tuples(st.just("pause"), st.integers(1, 3 * AGING))
events = st.lists(st.one_of(joins, joins, serves, leaves, pauses), max_size=60)
crowds = st.lists(st.tuples(st.sampled_from(Priority), st.sampled_from("abc")), min_size=1, max_size=30)


class Play:
    """A line, and the book that is kept of it beside it: waiters are numbers in the order they came."""

    def __init__(self, aging=AGING):
        self.line, self.now, self.came = Line(aging), 0, {}
        self.served, self.left = [], []

    @property
    def waiting(self):
        gone = {*self.served, *self.left}
        return [number for number in self.came if number not in gone]

    def join(self, priority, tenant):
        number = len(self.came)
        self.came[number] = (priority, tenant, self.now)
        self.line.join(number, priority, tenant, self.now)
        return number

    def serve(self):
        head = self.line.head(self.now)
        if head is not None:
            self.line.serve(head)
            self.served.append(head)
        return head

    def leave(self, pick):
        if self.waiting:
            number = self.waiting[pick % len(self.waiting)]
            assert self.line.leave(number)
            self.left.append(number)

    def pause(self, seconds):
        self.now += seconds

    def class_of(self, number):
        """By the definition: one class up for each `aging` seconds waited."""
        priority, _, came = self.came[number]
        risen = (self.now - came) // self.line.aging if self.line.aging < NEVER else 0
        return max(0, list(Priority).index(priority) - risen)

    def run(self, events):
        for name, *given_ in events:
            yield name, getattr(self, name)(*given_)


@given(events)
def test_the_head_is_of_the_highest_class_by_then(events):
    play = Play()
    for _ in play.run(events):
        head = play.line.head(play.now)
        assert (head is None) == (not play.waiting)
        assert head is None or play.class_of(head) == min(map(play.class_of, play.waiting))


@given(events)
def test_first_in_first_out_for_one_tenant_and_priority(events):
    play = Play()
    for _ in play.run([*events, *[("serve",)] * len(events)]):
        pass
    orders = defaultdict(list)
    for number in play.served:
        orders[play.came[number][:2]].append(number)
    assert all(order == sorted(order) for order in orders.values())


@given(events)
def test_everybody_comes_out_once_and_nothing_stays_behind(events):
    play = Play()
    for _ in play.run(events):
        assert len(play.line) == len(play.waiting) == sum(play.line.depth().values())
    while play.serve() is not None:
        pass
    assert sorted([*play.served, *play.left]) == list(play.came)
    assert not any(each.entered or each._ring for each in play.line._classes)
    assert not play.line._places


@given(events)
def test_the_place_that_is_told_is_the_place_in_which_they_go(events):
    play = Play()
    for _ in play.run(events):
        pass
    told = {number: play.line.ahead(number, play.now) for number in play.waiting}
    went = [play.serve() for _ in play.waiting]
    assert told == {number: place for place, number in enumerate(went)}


@given(events)
def test_tenants_take_turns_inside_a_class(events):
    """While two tenants wait in one class, neither is served twice more often than the other, plus one turn."""
    play, lead = Play(NEVER), Counter()
    for name, result in play.run(events):
        waiting = {play.came[number][:2] for number in play.waiting}
        if name == "serve" and result is not None:
            priority, tenant, _ = play.came[result]
            for other in {tenant for level, tenant in waiting if level is priority} - {tenant}:
                lead[priority, tenant, other] += 1
                lead[priority, other, tenant] = 0
                assert lead[priority, tenant, other] <= 1
        for key in [key for key in lead if not {(key[0], key[1]), (key[0], key[2])} <= waiting]:
            del lead[key]


@given(events)
def test_who_waits_is_served_within_the_stated_bound(events):
    """From the top class on: (own tenant's before it + 1) · (most tenants waiting there meanwhile)."""
    play, own, most, turns = Play(), {}, Counter(), Counter()
    for name, result in play.run([*events, *[("join", HIGH, "z"), ("serve",), ("pause", 1)] * 30]):
        top = [number for number in play.waiting if play.class_of(number) == 0]
        tenants = Counter(play.came[number][1] for number in top)
        if name == "serve":
            for number in own.keys() & {*top, result}:
                turns[number] += 1
                assert turns[number] <= (own[number] + 1) * most[number]
        for number in top:
            own.setdefault(number, tenants[play.came[number][1]] - 1)
            most[number] = max(most[number], len(tenants))


@given(crowds, st.sampled_from([LOW, NORMAL]))
def test_a_flood_of_high_delays_nobody_for_ever(crowd, priority):
    """One joins, then somebody urgent comes before each turn: it goes with its first turn in the top class."""
    play = Play()
    patient = play.join(priority, "patient")
    top_at = list(Priority).index(priority) * AGING
    while patient not in play.served:
        for _, tenant in crowd:
            play.join(HIGH, tenant)
        play.pause(1)
        play.serve()
        assert play.now <= top_at + 4  # three other tenants, one turn each


@pytest.mark.parametrize(("shorter", "longer"), [(1, 100), (100, 1)])
def test_aging_may_change_while_some_wait(shorter, longer):
    play = Play(aging=longer)
    first, second = play.join(LOW, "a"), play.join(LOW, "b")
    play.pause(50)
    play.join(NORMAL, "a")
    play.line.aging = shorter
    play.pause(2 * shorter)
    play.join(HIGH, "a")
    assert {play.serve(), play.serve()} <= {first, second, 2}
    assert [play.serve(), play.serve(), play.serve()].count(None) == 1


def test_who_leaves_takes_nobodys_turn():
    play = Play()
    for tenant in "abab":
        play.join(NORMAL, tenant)
    play.line.leave(0)
    assert [play.serve() for _ in range(3)] == [2, 1, 3]


def test_a_second_leave_is_no_leave():
    play = Play()
    play.join(NORMAL, "a")
    assert (play.line.leave(0), play.line.leave(0)) == (True, False)
