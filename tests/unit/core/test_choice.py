"""Which of several servers takes a request: what is promised of it, whatever the servers look like."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from enginehouse.core.routes.choice import Host, Rule, choose

RULES = st.builds(Rule, cold_cost=st.integers(0, 20).map(float), affinity=st.sampled_from([0, 1, 1.5, 3]))
HEADS = st.binary(min_size=1, max_size=8)


@st.composite
def fleets(draw, **fixed):
    many = draw(st.integers(1, 8))
    parts = {
        "outstanding": st.integers(0, 30),
        "weight": st.sampled_from([0.5, 1.0, 2.0, 4.0]),
        "slots": st.integers(1, 40),
        "warm": st.booleans(),
        "asked": st.integers(0, 9),
    }
    return [
        Host(name=str(number), **{name: draw(part) for name, part in parts.items()} | fixed)
        for number in range(many)
    ]


def alike(many, **parts):
    return [Host(name=f"http://gpu{number}:11434", **parts) for number in range(many)]


def test_there_is_no_choice_among_none():
    assert choose([], b"head", Rule()) is None


@given(fleets(), RULES)
def test_without_a_conversation_the_least_busy_for_its_weight_is_asked(hosts, rule):
    chosen = choose(hosts, b"", rule)
    for other in hosts:
        mine, theirs = (one.outstanding + 1 + (0 if one.warm else rule.cold_cost) for one in (chosen, other))
        assert mine / chosen.weight <= theirs / other.weight


@given(fleets(outstanding=0, weight=1.0, warm=True), RULES)
def test_among_equals_the_one_that_was_asked_longest_ago(hosts, rule):
    assert choose(hosts, b"", rule).asked == min(host.asked for host in hosts)


@given(fleets(weight=1.0), HEADS, RULES)
def test_a_cold_server_loads_only_when_every_warm_one_is_busier_by_what_a_load_is_worth(hosts, head, rule):
    chosen = choose(hosts, head, rule)
    if not chosen.warm:
        assert all(host.outstanding >= chosen.outstanding + rule.cold_cost for host in hosts if host.warm)


@given(fleets(), HEADS, RULES)
def test_nobody_takes_more_than_its_share_for_a_conversations_sake(hosts, head, rule):
    chosen, least = choose(hosts, head, rule), choose(hosts, b"", rule)
    if chosen != least:
        warm = [host for host in hosts if host.warm]
        requests, weights = 1 + sum(host.outstanding for host in warm), sum(host.weight for host in warm)
        share = math.ceil(rule.affinity * requests * chosen.weight / weights)
        assert chosen.outstanding + 1 <= max(share, 2)
        assert chosen.outstanding < chosen.slots


@given(fleets(warm=True), HEADS, RULES, st.randoms())
def test_every_replica_says_the_same_in_whatever_order_it_names_them(hosts, head, rule, random):
    hosts = [structs.replace(host, asked=number) for number, host in enumerate(hosts)]
    mixed = random.sample(hosts, len(hosts))
    assert choose(hosts, head, rule) == choose(mixed, head, rule)


@given(HEADS, st.integers(2, 8))
def test_a_conversation_stays_while_its_server_keeps_up_and_comes_back(head, many):
    hosts, rule = alike(many), Rule()
    own = choose(hosts, head, rule)
    others = [host for host in hosts if host is not own]
    assert choose([structs.replace(own, outstanding=1), *others], head, rule).name == own.name
    overrun = structs.replace(own, outstanding=9)
    assert choose([overrun, *others], head, rule) in others
    assert choose(hosts, head, rule) == own


@given(HEADS, st.integers(2, 8), st.data())
def test_one_server_less_moves_only_its_own_conversations(head, many, data):
    hosts = alike(many)
    gone = data.draw(st.sampled_from(hosts))
    own = choose(hosts, head, Rule())
    left = [host for host in hosts if host is not gone]
    assert own is gone or choose(left, head, Rule()) == own


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 5)])
def test_conversations_part_among_servers_as_the_weights_say(weights):
    hosts = [structs.replace(host, weight=float(weight)) for host, weight in zip(alike(3), weights, strict=True)]
    homes = Counter(choose(hosts, f"conversation {number}".encode(), Rule()).name for number in range(4000))
    for host in hosts:
        assert homes[host.name] / 4000 == pytest.approx(host.weight / sum(weights), abs=0.03)


def test_a_conversation_leaves_a_server_whose_slots_are_full():
    full = [structs.replace(host, slots=1, outstanding=1) for host in alike(2)]
    free = structs.replace(full[0], outstanding=0)
    for head in (b"a", b"b", b"c", b"d"):
        assert choose([free, full[1]], head, Rule()) == free
