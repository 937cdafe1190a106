"""Who is calling: keys of the settings, stored keys and tokens; and whether strangers may reach the service."""

import pytest

from enginehouse.core.identity import (
    SERVICE,
    Identity,
    check_exposure,
    check_model,
    check_page,
    may_use,
    require_admin,
)
from enginehouse.errors import MissingCredentials, PermissionDenied, SettingsError
from enginehouse.settings.schema import AuthSettings, ServerSettings
from enginehouse.types import Deployment, EngineName, Kind, Model, Principal, Rate, Rates

KEYS = AuthSettings.model_validate({"api_keys": ["first-key", "second-key"]})


async def test_without_keys_everybody_is_the_local_admin():
    identity = Identity(AuthSettings())
    assert identity.open
    assert (await identity.principal(None, None)).role == "admin"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [("Bearer first-key", None), ("bearer second-key", None), (None, "first-key"), ("Bearer wrong", "second-key")],
)
async def test_a_known_key_is_let_in(authorization, api_key):
    assert (await Identity(KEYS).principal(authorization, api_key)).role == "admin"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (None, None),
        ("", ""),
        ("Bearer ", None),
        ("Bearer wrong", None),
        ("Basic first-key", None),
        ("first-key", None),
        (None, "first-key2"),
        (None, "first-ke"),
        ("Bearer clé-\u00e9", None),
        (None, "first-key" * 1000),
    ],
)
async def test_anything_else_is_refused(authorization, api_key):
    with pytest.raises(MissingCredentials) as refused:
        await Identity(KEYS).principal(authorization, api_key)
    assert "first-key" not in refused.value.message


async def test_new_keys_count_from_the_next_request_on():
    identity = Identity(KEYS)
    identity.adopt(AuthSettings.model_validate({"api_keys": ["third-key"]}))
    assert (await identity.principal(None, "third-key")).role == "admin"
    with pytest.raises(MissingCredentials):
        await identity.principal(None, "first-key")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.8", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    check_exposure(ServerSettings(host=host), AuthSettings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_anywhere_else_does(host):
    with pytest.raises(SettingsError, match=r"auth\.api_keys"):
        check_exposure(ServerSettings(host=host), AuthSettings())
    check_exposure(ServerSettings(host=host), KEYS)
    check_exposure(ServerSettings(host=host), AuthSettings(jwks_url="https://i", jwt_algorithm="ES256"))


@pytest.mark.parametrize(
    ("auth", "named"),
    [
        ({"jwt_secret": "s" * 32, "jwt_algorithm": "RS256"}, "auth.jwks_url"),
        ({"jwks_url": "https://issuer/keys"}, "auth.jwt_algorithm"),
    ],
)
def test_a_secret_and_public_keys_do_not_mix(auth, named):
    with pytest.raises(SettingsError, match=named):
        check_exposure(ServerSettings(), AuthSettings.model_validate(auth))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, None),
        (None, "127.0.0.1:8000"),
        (None, "[::1]:8000"),
        ("http://localhost:3000", "localhost:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("https://ours.example", "localhost"),
        (None, "app.localhost"),
    ],
)
def test_ones_own_pages_may_act_without_a_key(origin, host):
    check_page(origin, host, {"https://ours.example"})


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "127.0.0.1:8000"),
        ("null", "127.0.0.1:8000"),
        ("https://localhost.evil.example", "localhost"),
        (None, "evil.example"),
        (None, "127.0.0.1.evil.example:8000"),
        ("http://127.0.0.1:8000", "evil.example"),
        (None, ""),
        (None, "[::1"),
    ],
)
def test_pages_of_others_may_not(origin, host):
    with pytest.raises(PermissionDenied):
        check_page(origin, host, {"https://ours.example"})


def test_management_is_for_admins():
    require_admin(Principal(user="a", role="admin"))
    for role in ("user", "Admin", "", SERVICE.role):
        with pytest.raises(PermissionDenied):
            require_admin(Principal(user="a", role=role))


@pytest.mark.parametrize(
    ("allowed", "may"),
    [
        ((), True),
        (("org/llama:8b",), True),
        (("llama",), True),
        (("org/*",), True),
        (("gpt-4", "org/llama*"), True),
        (("org/llama",), False),
        (("ORG/*",), False),
        (("gpt-*",), False),
    ],
)
def test_models_are_allowed_by_any_of_their_names(allowed, may):
    deployment = Deployment(id="d", model="org/llama:8b", kind=Kind.CHAT, engine=EngineName.OPENAI)
    model = Model(id="org/llama:8b", kind=Kind.CHAT, deployments=(deployment,), aliases=("llama",))
    principal = Principal(user="ann", models=allowed)
    assert may_use(principal, model) is may
    if may:
        check_model(principal, model)
    else:
        with pytest.raises(PermissionDenied, match="org/llama:8b"):
            check_model(principal, model)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/hour", Rate(100, 3600)),
        ("1/second", Rate(1, 1)),
        ("10 / Minute", Rate(10, 60)),
        ("5/30 seconds", Rate(5, 30)),
        ("7/2days", Rate(7, 172_800)),
    ],
)
def test_a_rate_is_words(text, rate):
    assert Rate.of(text) == rate
    assert Rate.of(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "100", "hour", "0/hour", "-1/hour", "1.5/hour", "5/0 seconds", "1/fortnight"])
def test_other_words_are_no_rate(text):
    with pytest.raises(ValueError, match="no rate"):
        Rate.of(text)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("100/hour", Rates(requests=Rate(100, 3600))),
        ("5000 tokens/minute", Rates(tokens=Rate(5000, 60))),
        ("3 at once", Rates(concurrent=3)),
        (
            "1 at once,2 Tokens / day , 3 requests/second",
            Rates(requests=Rate(3, 1), tokens=Rate(2, 86_400), concurrent=1),
        ),
        ("unlimited", Rates()),
    ],
)
def test_rates_are_words(text, rates):
    assert Rates.of(text) == rates
    assert Rates.of(str(rates)) == rates


@pytest.mark.parametrize("text", ["", "1/hour, 2/day", "0 at once", "many", "1/hour,", "5 cents/day"])
def test_other_words_are_no_rates(text):
    with pytest.raises(ValueError, match=r"no rate|twice"):
        Rates.of(text)
