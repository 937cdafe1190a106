"""The measurement of identity, limits and ledger measures all three kinds of callers."""

from bench.access import access_costs


async def test_every_kind_of_credentials_is_measured():
    costs = await access_costs(times=20, others=2)
    kinds = ["a key of the settings", "a stored key", "a token"]
    assert [(cost.callers, cost.name.split(",")[0]) for cost in costs] == [
        (callers, kind) for callers in (1, 50) for kind in kinds
    ]
    assert all(0 < cost.record < cost.p50 <= cost.p95 for cost in costs)
