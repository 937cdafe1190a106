"""Which recorded requests are repeats that a cache would have answered."""

from enginehouse.core.ledger.repeats import Repeats

SECOND = 1_000_000


def row(at=0, *, took=1, user="ann", digest="d", cost=7, **changes):
    made = {
        "time": at * SECOND,
        "total_us": took * SECOND,
        "user_id": user,
        "model": "m",
        "operation": "chat",
        "face": "f",
        "digest": digest,
        "cost": cost,
        "input_tokens": 10,
        "cached_input_tokens": 2,
        "output_tokens": 3,
        "reasoning_tokens": 1,
    }
    return made | changes


def counted(*rows, ttl=100, scopes=("user", "tenant")):
    repeats = Repeats(ttl, scopes)
    for one in rows:  # in as many pieces as there are rows
        repeats.add([one])
    return {(scope, model): (found.requests, found.cost) for scope, model, found in repeats.found()}


def test_the_first_is_none_and_every_later_one_is():
    assert counted(row()) == {}
    assert counted(row(), row(5), row(9, cost=8), scopes=("user",)) == {("user", "m"): (2, 15)}


def test_tokens_of_repeats_are_summed_with_their_reasoning():
    repeats = Repeats(100, ("user",))
    repeats.add([row(), row(5), row(6, cost=None)])
    [(_, _, found)] = repeats.found()
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens) == (20, 4, 8)
    assert (found.requests, found.unpriced, found.cost) == (2, 1, 7)


def test_what_came_before_the_answer_was_there_would_have_run_all_the_same():
    assert counted(row(took=10), row(9), row(10), scopes=("user",)) == {("user", "m"): (1, 7)}


def test_an_answer_is_kept_for_its_time_and_then_made_anew():
    rows = [row(0), row(100), row(101), row(150), row(202)]
    assert counted(*rows, ttl=100, scopes=("user",)) == {("user", "m"): (2, 14)}


def test_users_of_a_tenant_share_in_its_scope_only():
    rows = [row(), row(5, user="bob"), row(9)]
    assert counted(*rows) == {("tenant", "m"): (2, 14), ("user", "m"): (1, 7)}


def test_other_questions_models_and_routes_are_none():
    others = ({"digest": "e"}, {"model": "n"}, {"operation": "completion"}, {"face": "g"})
    assert counted(row(), *(row(5, **other) for other in others)) == {}


def test_without_a_digest_nothing_is_told():
    repeats = Repeats(100)
    repeats.add([row(digest=""), row(5, digest="")])
    assert (repeats.seen, repeats.without_digest, list(repeats.found())) == (2, 2, [])
