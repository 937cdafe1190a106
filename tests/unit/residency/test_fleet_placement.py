"""Where deployments are placed in a fleet: pure values, many nodes."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from enginehouse.engines.metadata import Weight
from enginehouse.residency.fleet import Demand, Fleet, Node
from enginehouse.residency.fleet.heights import Heights
from enginehouse.residency.policy import Rules, fits
from enginehouse.types import Deployment, EngineName, Kind, Priority

RULES = Rules(max_wait=30, min_residency=5)


def node(id_, ram=100, gpus=(), models=10, **labels):
    vram = dict(enumerate(gpus))
    capacity = {"ram": ram, "models": models, **{f"vram.{index}": size for index, size in vram.items()}}
    capacity |= {f"{axis}.utility": size for axis, size in capacity.items()}
    return Node(id=id_, capacity=capacity, gpus=vram, labels=labels)


def deployment(id_, kind=Kind.CHAT, model=None, **labels):
    engine = EngineName.LLAMA_SERVER
    return Deployment(id=id_, model=model or id_, kind=kind, engine=engine, labels=tuple(labels.items()))


def demand(id_, ram=40, vram=0, *, since=0.0, priority=Priority.NORMAL, evicts=True, **of):
    weight = Weight(ram=ram, vram=vram)
    return Demand(deployment=deployment(id_, **of), weight=weight, since=since, priority=priority, evicts=evicts)


def fleet_of(*nodes):
    fleet = Fleet(RULES)
    for one in nodes:
        fleet.join(one)
    return fleet


def settle(fleet, wanted, now=0.0, **standing):
    """Place it, load it, and say how it stands then."""
    placement = fleet.ask(wanted, now)
    assert placement is not None
    fleet.claim(placement, wanted, now)
    assert wanted.deployment.id in fleet.grants(placement.node)
    stand(fleet, wanted.deployment.id, now, loading=False, **standing)
    return placement


def stand(fleet, id_, now=0.0, **standing):
    fleet.update(structs.replace(fleet.held(id_).standing, **standing), now)


def test_the_emptiest_node_is_taken():
    fleet = fleet_of(node("a", 100), node("b", 120), node("c", 110))
    assert settle(fleet, demand("one")).node == "b"
    assert settle(fleet, demand("two")).node == "c"
    assert settle(fleet, demand("three")).node == "a"


def test_copies_of_a_model_lie_on_different_nodes_until_there_is_no_other():
    fleet = fleet_of(node("a", 1000), node("b", 100))
    homes = [settle(fleet, demand(f"m#{number}", model="m")).node for number in range(3)]
    assert homes == ["a", "b", "a"]


def test_labels_are_wanted_of_a_node():
    fleet = fleet_of(node("plain", 1000), node("big", accelerator="h100"))
    assert settle(fleet, demand("m", accelerator="h100")).node == "big"
    assert fleet.ask(demand("other", accelerator="a100"), 0) is None
    assert not fleet.could_hold(demand("other", accelerator="a100"))


def test_what_wants_a_gpu_never_lies_in_main_memory_where_there_are_gpus():
    fleet = fleet_of(node("plain", 1000), node("gpu", 100, gpus=[50, 80]))
    placed = settle(fleet, demand("m", ram=10, vram=60))
    assert placed.node == "gpu"
    assert placed.place == {"ram": 10, "models": 1, "vram.1": 60}
    assert not fleet.could_hold(demand("vast", ram=10, vram=200))
    assert fleet_of(node("plain", 1000)).could_hold(demand("vast", ram=10, vram=200))


def test_it_is_divided_over_gpus_when_one_does_not_do():
    fleet = fleet_of(node("gpu", 100, gpus=[50, 50]))
    placed = settle(fleet, demand("m", ram=10, vram=80))
    assert placed.place == {"ram": 10, "models": 1, "vram.0": 40, "vram.1": 40}


def test_classifiers_take_of_their_own_share_and_need_no_gpu():
    fleet = fleet_of(node("gpu", 100, gpus=[50]))
    settle(fleet, demand("chat", ram=100))
    assert settle(fleet, demand("judge", kind=Kind.CLASSIFIER, ram=10, vram=60)).place == {
        "ram.utility": 70,
        "models.utility": 1,
    }


def test_the_least_worthy_in_the_whole_fleet_leaves():
    fleet = fleet_of(node("a"), node("b"), node("c"))
    for number, (load, asked) in enumerate([(60, 5), (30, 1), (60, 1)]):
        settle(fleet, demand(f"m{number}", 80), reload_seconds=load, demand=asked)
    placed = fleet.ask(demand("new", 80, since=100), 100)
    assert placed is not None
    assert placed.evictions == ("m1",)
    assert placed.node == fleet.node_of("m1")


def test_a_hot_model_stays_however_long_ago_it_was_told():
    fleet = fleet_of(node("a"), node("b"))
    settle(fleet, demand("was hot", 80), now=0, reload_seconds=60, demand=10)
    settle(fleet, demand("is hot", 80), now=0, reload_seconds=60, demand=1)
    stand(fleet, "is hot", 3000, demand=5)
    assert fleet.ask(demand("new", 80, since=3000), 3000).evictions == ("was hot",)


def test_a_node_is_taken_where_one_leaves_rather_than_three():
    fleet = fleet_of(node("a"))
    for number in range(3):
        settle(fleet, demand(f"m{number}", 30), last_used=2)
    fleet.join(node("b"))
    settle(fleet, demand("big", 90), last_used=1)
    assert fleet.ask(demand("new", 90, since=100), 100).evictions == ("big",)


def test_who_is_promised_room_gets_it_when_the_others_have_left():
    fleet = fleet_of(node("a"))
    settle(fleet, demand("old", 80))
    wanted = demand("new", 80, since=100)
    placed = fleet.ask(wanted, 100)
    fleet.claim(placed, wanted, 100)
    assert fleet.grants("a") == ()
    assert fleet.ask(demand("third", 80, since=100), 100) is None
    fleet.release("old")
    assert fleet.grants("a") == ("new",)


def test_who_comes_later_does_not_take_promised_room():
    fleet = fleet_of(node("a"))
    settle(fleet, demand("old", 60))
    wanted = demand("big", 90, since=100)
    fleet.claim(fleet.ask(wanted, 100), wanted, 100)
    assert fleet.ask(demand("small", 20, since=101, evicts=False), 101) is None
    assert fleet.ask(demand("tiny", 10, since=101, evicts=False), 101).node == "a"


def test_busy_ones_leave_only_for_the_overdue_and_pinned_ones_never():
    fleet = fleet_of(node("a"), node("b"))
    settle(fleet, demand("busy", 80), busy=True)
    settle(fleet, demand("pinned", 80), pinned=True)
    assert fleet.ask(demand("new", 80, since=100), 129) is None
    assert fleet.ask(demand("new", 80, since=100), 130).evictions == ("busy",)


def test_what_has_only_just_come_stays():
    fleet = fleet_of(node("a"))
    settle(fleet, demand("young", 80), ready_since=98)
    assert fleet.ask(demand("new", 80, since=100), 100) is None
    assert fleet.ask(demand("new", 80, since=100), 103).evictions == ("young",)


def test_a_higher_class_never_leaves_for_a_lower_one():
    fleet = fleet_of(node("a"))
    settle(fleet, demand("high", 80, priority=Priority.HIGH), priority=Priority.HIGH)
    assert fleet.ask(demand("new", 80), 100) is None
    assert fleet.ask(demand("new", 80, priority=Priority.HIGH), 100).evictions == ("high",)


def test_nothing_comes_to_a_node_that_is_suspect_or_lost():
    fleet = fleet_of(node("a"), node("b", 50))
    settle(fleet, demand("one"))
    assert fleet.node_of("one") == "a"
    fleet.suspect("a", suspected=True)
    assert fleet.ask(demand("two"), 0).node == "b"
    fleet.suspect("a", suspected=False)
    assert fleet.ask(demand("two"), 0).node == "a"
    assert fleet.lose("a") == ("one",)
    assert fleet.node_of("one") is None
    assert fleet.ask(demand("two"), 0).node == "b"
    assert fleet.lose("a") == ()


def test_a_copy_beyond_the_least_takes_free_room_only():
    fleet = fleet_of(node("a"))
    settle(fleet, demand("old", 80))
    assert fleet.ask(demand("copy", 80, since=0, evicts=False), 100) is None


class Counting(tuple):
    looked = 0

    def __iter__(self):
        Counting.looked += 1
        return super().__iter__()


def looks(count):
    """Knots that a search among so many nodes looks at."""
    tree = Heights(4)
    for place in range(count):
        tree.put(place, (place % 97, 0, 0, 1))
    Counting.looked = 0
    assert next(tree.above(Counting((90, 0, 0, 1)), 0)) == 96
    return Counting.looked


def test_a_search_grows_with_the_logarithm_of_the_fleet():
    assert looks(1 << 8) <= 2 * 8 + 1
    assert looks(1 << 14) <= 2 * 14 + 1


amounts = st.integers(1, 60)
steps = st.lists(
    st.tuples(
        st.sampled_from(["want", "want", "want", "busy", "idle", "leave", "lose", "join", "suspect", "trust"]),
        st.integers(0, 30),
        amounts,
        st.sampled_from([0, 0, 20, 45]),
        st.sampled_from(list(Priority)),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(steps)
def test_whatever_happens_no_node_is_overcommitted_and_no_dead_one_chosen(script):
    model = Script()
    for number, step in enumerate(script):
        model.play(number * 2.0, *step)


class Script:
    """A fleet, and what has to be true of it whatever happens."""

    def __init__(self):
        self.fleet = fleet_of(node("n0", 60, zone="x"), node("n1", 100), node("n2", 80, gpus=[50, 30]))
        self.names = itertools.count(3)
        self.alive = {"n0", "n1", "n2"}
        self.loaded, self.busy = {}, set()

    def play(self, now, what, number, ram, vram, priority, evicts):
        getattr(self, {"busy": "work"}.get(what, what))(now, number, ram, vram, priority, evicts)
        self.check()

    def want(self, now, number, ram, vram, priority, evicts):
        id_ = f"m{number}"
        if self.fleet.node_of(id_):
            return
        since = now - 40 if number % 3 == 0 else now
        model = f"m{number // 3}"
        wanted = demand(id_, ram, vram, since=since, priority=priority, evicts=evicts, model=model)
        placed = self.fleet.ask(wanted, now)
        if placed is None:
            assert not self.somebody_fits(wanted), "it is placed whenever it fits somewhere"
            return
        assert placed.node in self.alive
        for victim in placed.evictions:
            assert evicts
            assert since == now - 40 or victim not in self.busy, "who answers leaves for the overdue only"
        self.fleet.claim(placed, wanted, now)
        for victim in placed.evictions:
            self.loaded.pop(victim)
            self.busy.discard(victim)
            self.fleet.release(victim)
        for granted in self.fleet.grants(placed.node):
            self.loaded[granted] = placed.node
            stand(self.fleet, granted, now, loading=False, ready_since=now, reload_seconds=ram, demand=vram)

    def work(self, now, number, *_, busy=True):
        if self.loaded:
            id_ = sorted(self.loaded)[number % len(self.loaded)]
            (self.busy.add if busy else self.busy.discard)(id_)
            stand(self.fleet, id_, now, busy=busy, last_used=now)

    def idle(self, now, number, *_):
        self.work(now, number, busy=False)

    def leave(self, now, number, *_):
        if self.loaded:
            id_ = sorted(self.loaded)[number % len(self.loaded)]
            home = self.loaded.pop(id_)
            self.busy.discard(id_)
            self.fleet.release(id_)
            assert self.fleet.grants(home) == ()

    def lose(self, now, number, *_):
        if len(self.fleet.nodes) > 1:
            gone = sorted(self.fleet.nodes)[number % len(self.fleet.nodes)]
            self.alive.discard(gone)
            for id_ in self.fleet.lose(gone):
                self.loaded.pop(id_)
                self.busy.discard(id_)
            assert gone not in self.loaded.values()

    def join(self, now, number, ram, *_):
        new = f"n{next(self.names)}"
        self.fleet.join(node(new, ram, gpus=[number] * (number % 3)))
        self.alive.add(new)

    def suspect(self, now, number, *_):
        self.alive.discard(one := sorted(self.fleet.nodes)[number % len(self.fleet.nodes)])
        self.fleet.suspect(one, suspected=True)

    def trust(self, now, number, *_):
        self.alive.add(one := sorted(self.fleet.nodes)[number % len(self.fleet.nodes)])
        self.fleet.suspect(one, suspected=False)

    def somebody_fits(self, wanted):
        gpus = any(self.fleet.nodes[name].node.gpus for name in self.fleet.nodes)
        need = {"ram": wanted.weight.ram, "models": 1}
        for name in self.alive:
            yard = self.fleet.nodes[name]
            if not wanted.weight.vram:
                ways = [need]
            elif gpus:
                ways = [need | {f"vram.{index}": wanted.weight.vram} for index in yard.node.gpus]
            else:
                ways = [need | {"ram": wanted.weight.total}]
            if any(fits(way, yard.open) for way in ways):
                return True
        return False

    def check(self):
        for name, yard in self.fleet.nodes.items():
            taken = [held.standing.size for id_, held in yard.held.items() if id_ not in yard.claims]
            for axis, most in yard.node.capacity.items():
                assert sum(size.get(axis, 0) for size in taken) <= most
            assert yard.held.keys() == {id_ for id_, home in self.loaded.items() if home == name}
