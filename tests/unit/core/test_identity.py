"""Who is calling: keys of the settings, stored keys and tokens; and whether strangers may reach the service."""

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.identity import (
    LOCAL,
    SERVICE,
    Identity,
    check_exposure,
    check_model,
    check_page,
    may_use,
    require_admin,
)
from enginehouse.core.identity.keyring import Keyring
from enginehouse.core.identity.keys import Hasher, Key, new_text
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


STORED = new_text("aaaaaaaaaaaa")
TOKEN = jwt.encode({"sub": "ben", "exp": 4_000_000_000}, "a secret of at least thirty-two bytes", "HS256")


def everything():
    """An identity with keys of the settings, a stored one and tokens."""
    hasher = Hasher(b"s" * 32)
    keyring = Keyring(None, hasher, offline=60, clock=lambda: 1000.0)
    keyring.take([Key(id="aaaaaaaaaaaa", digest=hasher.digest(STORED), user_id="ann", created=1)])
    settings = {"api_keys": ["first-key", "cl\u00e9"], "jwt_secret": "a secret of at least thirty-two bytes"}
    return Identity(AuthSettings.model_validate(settings), keyring)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "Bearer ", "bearer  ", "BEARER ", "Basic ", "Bearer", "Bearer\t", " Bearer "]),
            st.sampled_from(
                ["", "first-key", "first-ke", STORED, STORED[:-1], TOKEN, TOKEN[:-1], "cl\u00e9", "a b"]
            ),
            st.sampled_from(["", " "]),
            st.sampled_from([None, "", "first-key", STORED, TOKEN, "wrong", "first-key" * 1000]),
        ),
        max_size=8,
    )
)
async def test_what_is_known_at_once_is_what_would_be_found(shown):
    identity = everything()
    for scheme, text, end, api_key in shown:
        given_ = scheme + text + end
        at_once = identity.known(given_.encode("latin-1"), None if api_key is None else api_key.encode())
        try:
            holder = await identity.principal(given_, api_key)
        except MissingCredentials:
            assert at_once is None
            continue
        assert at_once is None or at_once is holder
        ascii_ = (api_key or text).isascii()
        again = identity.known(given_.encode("latin-1"), None if api_key is None else api_key.encode())
        assert again is holder if ascii_ else again is None


def test_settings_count_at_once_for_who_is_known():
    identity = everything()
    assert identity.known(b"Bearer first-key", None).role == "admin"
    identity.adopt(KEYS)
    assert identity.known(None, b"second-key").role == "admin"
    identity.adopt(AuthSettings.model_validate({"api_keys": ["third-key"]}))
    assert identity.known(None, b"first-key") is None
    assert identity.known(None, b"third-key").role == "admin"


def test_without_keys_everybody_is_known():
    assert Identity(AuthSettings()).known(None, None) is LOCAL
    assert Identity(KEYS).known(None, None) is None


async def test_no_text_of_a_key_is_remembered_and_not_too_many_are():
    identity = everything()
    for number in range(5000):
        assert identity.known(None, b"%d" % number) is None
    await identity.principal(None, STORED)
    keyring = identity._keyring
    assert STORED[-20:] not in repr(vars(keyring))
    assert len(keyring._shown) == 1
    for number in range(5000):
        keyring._remember(b"%d" % number, keyring._shown.get(b""))
    assert len(keyring._shown) <= 4096


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
