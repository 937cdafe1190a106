"""Which server is asked, when one is left alone, and how long one waits before asking again."""

from contextlib import suppress

import pytest

from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.routes import Routes, may_help
from enginehouse.errors import (
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    UpstreamBusy,
    UpstreamDied,
    UpstreamRefused,
    UpstreamTimeout,
)
from enginehouse.settings.schema import RoutingSettings, Settings
from tests.unit.core.way import ELSEWHERE

DIED = UpstreamDied("gone")


class House:
    """Routes of a configuration's models, on a clock that a test moves."""

    def __init__(self, models, **routing):
        settings = Settings.model_validate({"models": models, "default_models": False})
        self.now = 100.0
        self.draw = 1.0
        self.catalogue = Catalogue(from_settings(settings))
        self.routes = Routes(self.catalogue, RoutingSettings(**routing), lambda: self.now, lambda: self.draw)
        self.model = self.catalogue.resolve("m")

    def pick(self, *tried):
        found = self.routes.pick(self.model, tried)
        if not tried and len(self.model.deployments) == 1:
            assert self.routes.left_alone(self.model.deployments[0]) is (found is None)
        return found and found.id

    def visited(self, error=None, at=0):
        """One visit at a deployment that ends like this."""
        with suppress(type(error)), self.routes.visit(self.model.deployments[at]):
            if error is not None:
                raise error


def house(*weights, **routing):
    first, *rest = weights or (1.0,)
    more = [{**ELSEWHERE, "weight": weight} for weight in rest]
    return House({"m": {**ELSEWHERE, "weight": first, "deployments": more}}, **routing)


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (DIED, True),
        (UpstreamTimeout("late"), True),
        *((UpstreamRefused("no", status=status), True) for status in (None, 408, 429, 500, 503, 529)),
        *((UpstreamRefused("no", status=status), False) for status in (401, 402, 403, 404)),
        (InvalidRequest("wrong"), False),
        (QueueFull("full"), False),
        (ModelLoadFailed("broken"), False),
    ],
)
def test_what_another_try_may_mend(error, helps):
    assert may_help(error) is helps


def test_work_goes_where_the_least_is_outstanding_for_its_weight():
    at = house(1.0, 3.0)
    picked = []
    visits = []
    for _ in range(8):
        deployment = at.routes.pick(at.model)
        picked.append(deployment.id)
        visit = at.routes.visit(deployment)
        visit.__enter__()
        visits.append(visit)
    assert (picked.count("m"), picked.count("m~2")) == (2, 6)
    for visit in visits:
        visit.__exit__(None, None, None)
    assert [at.routes.breaker(one).running for one in at.model.deployments] == [0, 0]


def test_servers_that_are_all_asked_too_much_are_told_as_that():
    at = house(1.0, 1.0)
    for deployment, wait in zip(at.model.deployments, (30, 20), strict=True):
        with pytest.raises(UpstreamBusy), at.routes.visit(deployment):
            raise UpstreamBusy("slow down", status=429, retry_after=wait)
    refusal = at.routes.refusal(at.model)
    assert (isinstance(refusal, UpstreamBusy), refusal.code, refusal.retry_after) == (True, "slow_down", 20)
    with pytest.raises(UpstreamDied), at.routes.visit(at.model.deployments[0]):
        raise DIED
    assert at.routes.refusal(at.model).code == "upstream_error"


def test_what_was_tried_is_not_picked_again():
    at = house(1.0, 1.0)
    assert [at.pick(), at.pick("m"), at.pick("m", "m~2")] == ["m", "m~2", None]


def test_a_server_that_fails_again_and_again_is_left_alone():
    at = house(breaker_failures=3, breaker_cooldown=30)
    for expected in ("m", "m", None):
        at.visited(DIED)
        assert at.pick() == expected
    refusal = at.routes.refusal(at.model)
    assert (refusal.status, refusal.retry_after) == (503, 30)
    assert not isinstance(refusal, UpstreamBusy)
    at.now += 29.9
    assert at.pick() is None
    at.now += 0.1
    assert at.pick() == "m"


def test_failures_that_are_not_in_a_row_do_no_harm():
    at = house(breaker_failures=2)
    for error in (DIED, None, DIED, None, DIED):
        at.visited(error)
    assert at.pick() == "m"


@pytest.mark.parametrize("error", [InvalidRequest("wrong"), UpstreamRefused("key", status=401), QueueFull("full")])
def test_what_is_not_the_servers_fault_says_nothing_of_it(error):
    at = house(breaker_failures=2)
    at.visited(DIED)
    for _ in range(5):
        at.visited(error)
    assert at.pick() == "m"
    at.visited(DIED)
    assert at.pick() is None


def test_a_caller_who_leaves_says_nothing_of_the_server():
    at = house(breaker_failures=2)
    at.visited(DIED)
    at.visited(KeyboardInterrupt())
    at.visited(DIED)
    assert at.pick() is None
    assert at.routes.breaker(at.model.deployments[0]).running == 0


def test_one_at_a_time_tries_a_server_that_was_left_alone():
    at = house(breaker_failures=1, breaker_cooldown=30)
    deployment = at.model.deployments[0]
    with at.routes.visit(deployment):  # asked before it failed, and still there
        at.visited(DIED)
        at.now += 30
        trial = at.routes.visit(deployment)
        trial.__enter__()
        assert at.pick() is None
        with pytest.raises(UpstreamDied), at.routes.visit(deployment):
            raise DIED
        at.now += 30
        assert at.pick() is None  # another one's end does not end the trial
        trial.__exit__(None, None, None)
    assert at.pick() == "m"


def test_a_trial_that_fails_leaves_it_alone_again_and_one_that_is_given_up_does_not():
    at = house(breaker_failures=2, breaker_cooldown=30)
    at.visited(DIED)
    at.visited(DIED)
    at.now += 30
    at.visited(KeyboardInterrupt())
    assert at.pick() == "m"
    at.visited(DIED)
    assert at.pick() is None
    at.now += 30
    at.visited()
    at.visited(DIED)
    assert at.pick() == "m"


@pytest.mark.parametrize(("told", "kept"), [(7.0, 7.0), (9000.0, 300.0)])
def test_a_server_that_says_when_to_come_again_is_left_alone_so_long(told, kept):
    at = house(max_retry_after=300)
    at.visited(UpstreamRefused("busy", status=429, retry_after=told))
    at.now += kept - 0.1
    assert at.pick() is None
    at.now += 0.1
    assert at.pick() == "m"


def test_who_comes_again_when_told_and_fails_otherwise_has_failed_twice_and_no_more():
    at = house(breaker_failures=4)
    deployment = at.model.deployments[0]
    at.visited(UpstreamRefused("busy", status=429, retry_after=7))
    at.visited(DIED)  # on its way since before
    assert at.pick() is None
    at.now += 7
    at.visited(DIED)
    with at.routes.visit(deployment):
        assert at.pick() == "m"  # not one at a time any more


def test_an_engine_that_runs_here_has_a_breaker_elsewhere():
    at = House({"m": {"engine": "llama_server", "source": "m.gguf"}}, breaker_failures=1)
    at.visited(DIED)
    assert at.pick() == "m"


def test_pauses_grow_are_not_all_alike_and_have_a_limit():
    at = house(backoff=0.25, max_pause=1)
    assert [at.routes.pause(number, DIED) for number in range(1, 6)] == [0.25, 0.5, 1, 1, 1]
    at.draw = 0.0
    assert at.routes.pause(1, DIED) == 0.125


@pytest.mark.parametrize(("told", "pause"), [(3.0, 3.0), (10.0, 10.0), (10.5, None)])
def test_a_server_that_says_when_is_asked_then_or_not_at_all(told, pause):
    at = house(max_pause=10)
    assert at.routes.pause(1, UpstreamRefused("busy", status=429, retry_after=told)) == pause


def test_fall_backs_are_models_of_the_same_kind_that_are_there():
    models = {
        "m": {**ELSEWHERE, "fallbacks": ["gone", "vectors", "b", "m"]},
        "vectors": {**ELSEWHERE, "kind": "embedding"},
        "b": ELSEWHERE,
    }
    at = House(models)
    assert [model.id for model in at.routes.alternatives(at.model)] == ["m", "b"]


def test_what_is_gone_is_forgotten_and_new_settings_count():
    at = house(breaker_failures=1)
    at.visited(DIED)
    at.routes.forget(at.model.deployments)
    assert at.pick() == "m"
    at.routes.adopt(RoutingSettings(breaker_failures=2))
    at.visited(DIED)
    assert at.pick() == "m"
