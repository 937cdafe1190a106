"""The measurement of identity and limits measures all three kinds of callers."""

from bench.access import access_costs


async def test_every_kind_of_credentials_is_measured():
    costs = await access_costs(times=20, others=2)
    assert [cost.name.split(",")[0] for cost in costs] == ["a key of the settings", "a stored key", "a token"]
    assert all(0 < cost.p50 <= cost.p95 for cost in costs)
