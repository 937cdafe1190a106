"""Tokens: who is let in, and everything that is not."""

import base64
import json
import time

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from enginehouse.core.identity import Identity
from enginehouse.core.identity.jwks import KeySet
from enginehouse.core.identity.tokens import Tokens
from enginehouse.core.identity.verified import Verified
from enginehouse.errors import MissingCredentials, StoreUnavailable
from enginehouse.settings.schema import AuthSettings
from enginehouse.types import Principal

SECRET = "a secret of at least thirty-two bytes"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def auth(**changes):
    return AuthSettings.model_validate({"jwt_secret": SECRET, **changes})


def published(algorithm="RS256"):
    changes = {"jwt_secret": None, "jwt_algorithm": algorithm, "jwks_url": "https://issuer/keys"}
    return AuthSettings.model_validate(changes)


def claims(**changes):
    made = {"sub": "ann", "exp": time.time() + 60, **changes}
    return {name: value for name, value in made.items() if value is not None}


def token(key=SECRET, algorithm="HS256", headers=None, **changes):
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def part(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(private, kid, **changes):
    kind = jwt.algorithms.RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**json.loads(kind.to_jwk(private.public_key())), "kid": kid, "use": "sig", **changes}


SIGNED = token(exp=4_000_000_000)


class Issuer:
    """Publishes keys; `broken` is what asking raises."""

    def __init__(self, *keys):
        self.keys, self.asked, self.broken, self.now = keys, 0, None, 0.0

    async def fetch(self):
        self.asked += 1
        if self.broken:
            raise self.broken
        return json.dumps({"keys": self.keys}).encode()

    def tokens(self, algorithm="RS256", ttl=300, cooldown=30):
        keys = KeySet(self.fetch, algorithm, ttl=ttl, cooldown=cooldown, clock=lambda: self.now)
        return Tokens(published(algorithm), keys)


async def refused(tokens, text):
    assert tokens.known(text) is None
    with pytest.raises(MissingCredentials) as error:
        await tokens.holder(text)
    assert SECRET not in error.value.message
    assert len(text) < 20 or text not in error.value.message
    return error.value.message


async def test_a_token_says_who_is_calling():
    holder = await Tokens(auth()).holder(token(role="admin", tier="premium", tenant="acme"))
    assert (holder.user, holder.role, holder.tier, holder.tenant, holder.key) == (
        "ann",
        "admin",
        "premium",
        "acme",
        "",
    )


async def test_what_it_does_not_say_is_the_least():
    holder = await Tokens(auth()).holder(token())
    assert (holder.role, holder.tier, holder.tenant) == ("user", "standard", "")


async def test_identity_takes_tokens_in_either_header():
    identity = Identity(auth())
    assert (await identity.principal(f"Bearer {token()}", None)).user == "ann"
    assert (await identity.principal(None, token())).user == "ann"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_the_algorithm_of_the_settings_counts(algorithm):
    tokens = Tokens(auth(jwt_algorithm=algorithm, jwt_secret="s" * 64))
    assert (await tokens.holder(token("s" * 64, algorithm))).user == "ann"
    assert algorithm in await refused(tokens, token("s" * 64, "HS256"))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": time.time() + 3600},
        {"iat": time.time() + 3600},
        {"sub": None},
        {"sub": ""},
        {"sub": " "},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "x" * 257},
        {"role": "service"},
        {"role": "anonymous"},
        {"role": ["admin"]},
        {"role": {"admin": True}},
        {"tier": 1},
        {"tenant": None, "aud": "others"},
    ],
)
async def test_claims_that_are_wrong(changes):
    tokens = Tokens(auth())
    text = token(**changes) if changes.get("sub") != 7 else _raw({"alg": "HS256"}, claims(sub=7))
    await refused(tokens, text)


def _raw(header, payload, key=b"a secret of at least thirty-two bytes"):
    body = f"{part(header)}.{part(payload)}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(body.encode(), key)
    return f"{body}.{part(signature)}"


async def test_leeway_is_for_clocks():
    assert (await Tokens(auth()).holder(token(exp=time.time() - 5))).user == "ann"
    await refused(Tokens(auth(jwt_leeway=0)), token(exp=time.time() - 5))
    await refused(Tokens(auth()), token(exp=time.time() - 15))


async def test_audience_and_issuer_have_to_be_ours():
    tokens = Tokens(auth(jwt_audience="us", jwt_issuer="https://issuer"))
    assert (await tokens.holder(token(aud=["them", "us"], iss="https://issuer"))).user == "ann"
    for wrong in ({"aud": "us"}, {"iss": "https://issuer"}, {"aud": "them", "iss": "https://issuer"},
                  {"aud": "us", "iss": "https://issuer.evil"}, {}):  # fmt: skip
        await refused(tokens, token(**wrong))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "x"])
async def test_none_is_no_algorithm(algorithm, signature):
    text = f"{part({'alg': algorithm})}.{part(claims())}.{signature}"
    for tokens in (Tokens(auth()), Issuer(jwk(RSA, "a")).tokens()):
        await refused(tokens, text)


async def test_a_public_key_is_no_secret():
    """The issuer's public key as the secret of HS256: the classic."""
    issuer = Issuer(jwk(RSA, "a"))
    forged = _raw({"alg": "HS256", "kid": "a"}, claims(role="admin"), PEM)
    await refused(issuer.tokens(), forged)
    lying = _raw({"alg": "RS256", "kid": "a"}, claims(role="admin"), PEM)
    await refused(issuer.tokens(), lying)


async def test_a_secret_among_the_public_keys_signs_nothing():
    issuer = Issuer({"kty": "oct", "k": part(SECRET.encode()), "kid": "a"}, jwk(RSA, "b"))
    await refused(issuer.tokens(), token(headers={"kid": "a"}))
    await refused(issuer.tokens(), _raw({"alg": "RS256", "kid": "a"}, claims()))


async def test_keys_in_the_token_itself_are_not_looked_at():
    own = jwk(OTHER, "mine")
    for header in ({"jwk": own}, {"jku": "https://evil/keys"}, {"x5u": "https://evil/cert"}, {"kid": "../../etc"}):
        await refused(Issuer(jwk(RSA, "a")).tokens(), token(OTHER, "RS256", headers={"kid": "a", **header}))


async def test_unknown_extensions_are_refused():
    await refused(Tokens(auth()), token(headers={"crit": ["b64"], "b64": False}))


@pytest.mark.parametrize(
    "text",
    ["..", "a.b.c", "....", "e30.e30.e30", f"{part([])}.{part({})}.x", f"{part({'alg': 'HS256'})}.{part('x')}.y",
     f"{part({'alg': ['HS256']})}.e30.x", "\u00e9.\u00e9.\u00e9", f"{part(b'[' * 5000)}.e30.x"],
)  # fmt: skip
async def test_what_is_no_token(text):
    await refused(Tokens(auth()), text)


@given(st.data())
async def test_no_changed_token_gets_in(data):
    text = SIGNED
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("AZaz09-_.="))
    # The last letter of a signature holds bits that mean nothing; changing those changes no signature.
    if text[place] != letter and place != len(text) - 1:
        await refused(Tokens(auth()), text[:place] + letter + text[place + 1 :])
    await refused(Tokens(auth()), text[:place])


@pytest.mark.parametrize(("private", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
async def test_published_keys(private, algorithm):
    issuer = Issuer(jwk(private, "a"))
    tokens = issuer.tokens(algorithm)
    assert (await tokens.holder(token(private, algorithm, headers={"kid": "a"}))).user == "ann"
    assert (await tokens.holder(token(private, algorithm))).user == "ann"
    assert issuer.asked == 1


async def test_another_issuers_key_of_the_same_name():
    await refused(Issuer(jwk(RSA, "a")).tokens(), token(OTHER, "RS256", headers={"kid": "a"}))


async def test_a_token_without_a_key_id_does_not_choose_among_several():
    await refused(Issuer(jwk(RSA, "a"), jwk(OTHER, "b")).tokens(), token(RSA, "RS256"))


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"alg": "RS512"}, {"kty": "EC"}, {"n": "!"}])
async def test_keys_for_something_else_are_left_out(changes):
    await refused(Issuer(jwk(RSA, "a", **changes)).tokens(), token(RSA, "RS256", headers={"kid": "a"}))


async def test_a_new_key_of_the_issuer_is_found_and_an_old_one_forgotten():
    issuer = Issuer(jwk(RSA, "a"))
    tokens = issuer.tokens()
    await tokens.holder(token(RSA, "RS256", headers={"kid": "a"}))
    issuer.keys, issuer.now = (jwk(OTHER, "b"),), 31
    assert (await tokens.holder(token(OTHER, "RS256", headers={"kid": "b"}))).user == "ann"
    await refused(tokens, token(RSA, "RS256", headers={"kid": "a"}))


async def test_a_flood_of_unknown_keys_asks_once():
    issuer = Issuer(jwk(RSA, "a"))
    tokens = issuer.tokens()
    for number in range(50):
        await refused(tokens, token(OTHER, "RS256", headers={"kid": f"k{number}"}))
    assert issuer.asked == 1
    issuer.now = 30
    await refused(tokens, token(OTHER, "RS256", headers={"kid": "k"}))
    assert issuer.asked == 2


async def test_keys_are_asked_for_again_after_their_time():
    issuer = Issuer(jwk(RSA, "a"))
    tokens, text = issuer.tokens(ttl=300), token(RSA, "RS256", headers={"kid": "a"})
    await tokens.holder(text)
    issuer.now = 299
    await tokens.holder(text)
    assert issuer.asked == 1
    issuer.now = 300
    await tokens.holder(text)
    assert issuer.asked == 2


@pytest.mark.parametrize("broken", [OSError(), TimeoutError()])
async def test_an_issuer_that_is_away(broken):
    issuer = Issuer(jwk(RSA, "a"))
    tokens, text = issuer.tokens(), token(RSA, "RS256", headers={"kid": "a"})
    issuer.broken = broken
    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        await tokens.holder(text)
    assert [entry["event"] for entry in logs] == ["jwks_not_fetched"]
    issuer.broken, issuer.now = None, 30
    await tokens.holder(text)
    issuer.broken, issuer.now = broken, 400
    with capture_logs():
        assert (await tokens.holder(text)).user == "ann"


async def test_a_short_secret_is_told_once_and_works():
    with capture_logs() as logs:
        tokens = Tokens(auth(jwt_secret="short"))
    assert [entry["event"] for entry in logs] == ["jwt_secret_short"]
    assert "'short'" not in str(logs)
    body = f"{part({'alg': 'HS256'})}.{part(claims())}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    assert (await tokens.holder(f"{body}.{part(hmac.sign(body.encode(), b'short'))}")).user == "ann"


class Days:
    """A clock that is put forward by hand."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


def stamped(verified, text, user="from memory"):
    """What is remembered of the token gets another holder, by which the memory is told from the token itself."""
    verified.keep(text, msgspec.structs.replace(verified.find(text), holder=Principal(user=user)))


@pytest.mark.parametrize("leeway", [0, 10])
async def test_a_token_is_read_once_and_remembered_until_it_expires(leeway):
    now = Days()
    verified = Verified(clock=now)
    expires = int(now.now) + 60
    tokens, text = Tokens(auth(jwt_leeway=leeway), verified=verified), token(exp=expires)
    assert (await tokens.holder(text)).user == "ann"
    stamped(verified, text)
    now.now = expires + leeway - 0.5
    assert (await tokens.holder(text)).user == "from memory"
    assert tokens.known(text) is await tokens.holder(text)
    now.now = expires + leeway
    assert tokens.known(text) is None
    assert (await tokens.holder(text)).user == "ann", "it is read again, which says whether it still counts"


async def test_what_is_refused_is_not_remembered():
    verified = Verified()
    tokens = Tokens(auth(), verified=verified)
    for text in (token(exp=1), token("another secret of thirty-two bytes"), token(role="service")):
        await refused(tokens, text)
        assert verified.find(text) is None


async def test_a_remembered_token_falls_with_the_key_it_was_signed_with():
    """The issuer publishes another key under the same name."""
    issuer = Issuer(jwk(RSA, "a"))
    tokens, text = issuer.tokens(ttl=300), token(RSA, "RS256", headers={"kid": "a"})
    assert (await tokens.holder(text)).user == "ann"
    issuer.keys, issuer.now = (jwk(OTHER, "a"),), 299
    assert (await tokens.holder(text)).user == "ann", "it is not asked yet"
    assert tokens.known(text).user == "ann"
    issuer.now = 300
    await refused(tokens, text)


async def test_a_remembered_token_falls_with_the_settings():
    identity, text = Identity(auth()), token()
    assert (await identity.principal(f"Bearer {text}", None)).user == "ann"
    identity.adopt(auth(jwt_secret="another secret of thirty-two bytes"))
    with pytest.raises(MissingCredentials):
        await identity.principal(f"Bearer {text}", None)


async def test_a_remembered_token_lets_no_other_in():
    verified = Verified()
    tokens, text = Tokens(auth(), verified=verified), token()
    await tokens.holder(text)
    for other in (text[:-1], text + "A", text.swapcase(), text.rsplit(".", 1)[0] + "."):
        await refused(tokens, other)
    assert verified.find(text)


async def test_the_memory_of_tokens_is_bounded():
    verified = Verified(most=2)
    tokens, texts = Tokens(auth(), verified=verified), [token(sub=name) for name in ("ann", "bob", "cid")]
    for text in (*texts, texts[2]):
        await tokens.holder(text)
    assert [verified.find(text) is not None for text in texts] == [False, True, True]
    assert not any(text in repr(vars(verified)) or text.split(".")[2] in repr(vars(verified)) for text in texts)
