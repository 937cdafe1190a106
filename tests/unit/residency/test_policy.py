"""The eviction policy: pure values."""

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.residency.policy import Rules, Standing, Want, fits, plan
from enginehouse.types import Priority

RULES = Rules(max_wait=30, min_residency=5)
NOW = 1000.0


def want(name="new", ram=10, since=NOW, **more):
    return Want(id=name, need={"ram": ram}, since=since, **more)


def idle(name, ram=10, last_used=0.0, **more):
    return Standing(id=name, size={"ram": ram}, last_used=last_used, **more)


def decide(wants, standing=(), free=0):
    return plan(wants, standing, {"ram": free}, RULES, NOW)


def leaving(decision):
    return [eviction.id for eviction in decision.evictions]


def test_what_fits_is_granted_in_the_order_of_asking():
    decision = decide([want("b", since=2), want("a", since=1)], free=15)
    assert decision.grants == ("a",)
    assert not decision.evictions
    assert decision.waits == {"b": "others asked first"}


def test_the_longest_unused_leaves_first():
    assert leaving(decide([want()], [idle("old", last_used=1), idle("young", last_used=2)])) == ["old"]


def test_a_low_class_leaves_before_a_longer_unused_normal_one():
    standing = [idle("normal", last_used=1), idle("low", last_used=2, priority=Priority.LOW)]
    assert leaving(decide([want()], standing)) == ["low"]


def test_what_is_cheap_to_bring_back_leaves_before_what_is_dear_and_in_demand():
    standing = [
        idle("dear", last_used=1, reload_seconds=60, demand=5),
        idle("cheap", last_used=2, reload_seconds=1, demand=5),
    ]
    assert leaving(decide([want()], standing)) == ["cheap"]


def test_of_those_that_load_in_a_moment_the_one_used_longest_ago_leaves():
    standing = [
        idle("old", last_used=1, reload_seconds=1.9, demand=50),
        idle("new", last_used=2, reload_seconds=0.1, demand=1),
        idle("slow", last_used=0, reload_seconds=2.1, demand=1),
    ]
    assert leaving(decide([want()], standing)) == ["old"]


def test_a_higher_class_never_leaves_for_a_lower_one():
    standing = [idle("high", priority=Priority.HIGH)]
    assert not decide([want(since=0)], standing).evictions
    assert decide([want(since=0, priority=Priority.HIGH)], standing).evictions


def test_busy_and_pinned_ones_stay():
    assert not decide([want()], [idle("busy", busy=True), idle("pinned", pinned=True)]).evictions


def test_an_overdue_want_drains_a_busy_one_but_never_a_pinned_one():
    late = want(since=NOW - 30)
    assert leaving(decide([late], [idle("busy", busy=True)])) == ["busy"]
    assert not decide([late], [idle("pinned", pinned=True)]).evictions


def test_an_idle_one_leaves_before_a_busy_one_even_for_an_overdue_want():
    standing = [idle("busy", busy=True, priority=Priority.LOW), idle("idle")]
    assert leaving(decide([want(since=0)], standing)) == ["idle"]


def test_a_young_model_stays_until_it_is_grown_up_and_the_plan_says_when():
    decision = decide([want()], [idle("young", ready_since=NOW - 2)])
    assert decision.again_at == NOW + 3
    assert not decision.grants
    assert not decision.evictions


def test_nobody_leaves_when_it_would_not_help():
    assert not decide([want(ram=50)], [idle("a"), idle("b")]).evictions


def test_no_more_leave_than_have_to():
    standing = [idle("small", ram=2, last_used=1), idle("large", ram=20, last_used=2)]
    assert leaving(decide([want(ram=20)], standing)) == ["large"]


def test_room_that_is_about_to_come_is_waited_for_and_promised_once():
    standing = [idle("leaving", leaving=True), idle("other")]
    decision = decide([want("first", since=1), want("second", since=2)], standing)
    assert [(e.id, e.newcomer) for e in decision.evictions] == [("other", "second")]


def test_a_small_one_passes_a_large_one_that_waits():
    decision = decide(
        [want("large", ram=50, since=NOW - 1), want("small", ram=5)], [idle("busy", busy=True)], free=5
    )
    assert decision.grants == ("small",)


def test_but_not_one_that_is_overdue():
    wants = [want("large", ram=50, since=0), want("small", ram=5)]
    assert not decide(wants, [idle("pinned", pinned=True)], free=5).grants


def test_other_axes_are_left_alone():
    standing = [Standing(id="embedder", size={"ram.utility": 100})]
    assert not decide([want(since=0)], standing).evictions


priorities = st.sampled_from(list(Priority))
standings = st.builds(
    Standing,
    id=st.uuids().map(str),
    size=st.fixed_dictionaries({"ram": st.integers(1, 40), "models": st.just(1)}),
    priority=priorities,
    pinned=st.booleans(),
    busy=st.booleans(),
    leaving=st.booleans(),
    ready_since=st.floats(0, NOW),
    last_used=st.floats(0, NOW),
    demand=st.floats(0, 10),
)
wanted = st.builds(
    Want,
    id=st.uuids().map(str),
    need=st.fixed_dictionaries({"ram": st.integers(1, 80), "models": st.just(1)}),
    since=st.floats(0, NOW),
    priority=priorities,
)


@given(st.lists(wanted, max_size=5), st.lists(standings, max_size=6), st.integers(0, 60), st.integers(0, 3))
def test_grants_fit_into_what_is_free_and_evictions_are_allowed(wants, standing, ram, places):
    free = {"ram": ram, "models": places}
    decision = plan(wants, standing, free, RULES, NOW)
    needs = {w.id: w for w in wants}
    taken = {axis: sum(needs[g].need[axis] for g in decision.grants) for axis in free}
    assert fits(taken, free)
    gone = {s.id: s for s in standing}
    assert len(set(leaving(decision))) == len(decision.evictions)
    for victim, newcomer in ((eviction.id, eviction.newcomer) for eviction in decision.evictions):
        resident, cause = gone[victim], needs[newcomer]
        overdue = cause.since + RULES.max_wait <= NOW
        assert not resident.pinned
        assert not resident.leaving
        assert overdue or not resident.busy
        assert overdue or resident.ready_since + RULES.min_residency <= NOW
        assert newcomer not in decision.grants
    assert decision == plan(tuple(reversed(wants)), tuple(reversed(standing)), free, RULES, NOW)


def test_who_waits_is_told_what_is_in_the_way():
    standing = [
        idle("busy", busy=True),
        idle("fixed", pinned=True),
        idle("fresh", ready_since=NOW - 1),
        idle("dear", priority=Priority.HIGH),
    ]
    assert decide([want(ram=20)], standing).waits == {
        "new": "busy is busy; dear is of the higher class high; fixed is pinned; fresh has only just been loaded"
    }


def test_an_eviction_says_what_it_was_weighed_by():
    victim = idle("old", last_used=NOW - 40, reload_seconds=2.5, demand=0.5)
    why = decide([want()], [victim]).evictions[0].why
    assert why == "idle; class normal, 2.5 s to load, demand 0.5, last used 40 s ago"


def test_a_modest_want_takes_free_room_only():
    assert not decide([want(since=0, evicts=False)], [idle("old")]).evictions
    assert decide([want(evicts=False)], [idle("old")], free=10).grants == ("new",)
