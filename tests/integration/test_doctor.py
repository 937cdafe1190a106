"""The doctor at real stores and servers: well, wrong, and away."""

import json

import pytest

from enginehouse.cli.catalogue import configured
from enginehouse.cli.doctor.finding import Status
from enginehouse.cli.doctor.servers import look_at_servers
from enginehouse.cli.doctor.stores import look_at_stores
from enginehouse.settings import Settings
from tests.integration.command import run
from tests.integration.loopback import Handler, Loopback
from tests.integration.postgres import Postgres
from tests.integration.redis_server import RedisServer
from tests.integration.service import free_port


class Listing(Handler):
    """An upstream, and a Qdrant, that know what they have; the upstream wants its key."""

    def get(self):
        if self.path == "/collections":
            self.send_json({"result": {"collections": []}, "status": "ok", "time": 0})
        elif self.headers["Authorization"] != "Bearer good":
            self.send_json({"error": {"message": "no"}}, 401)
        else:
            self.send_json({"data": [{"id": "theirs"}]})


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    with (
        Postgres() as postgres,
        RedisServer(tmp_path_factory.mktemp("redis")) as redis,
        Loopback(Listing) as server,
    ):
        yield postgres, redis, server


def findings(folder, config, *, database="", redis=""):
    """What is found of stores and servers, by name."""
    stores = {"database_url": database, "redis_url": redis}
    stated = {"data_dir": folder / "data", "default_models": False, "stores": stores, **config}
    settings = Settings.model_validate(stated)
    found = [*look_at_stores(settings), *look_at_servers(configured(settings).models())]
    assert "secret-word" not in repr(found)
    return {one.name: one for one in found}


def told(found, name):
    return found[name].status.value, found[name].remedy


def statuses(found, *names):
    return [found[name].status.value for name in names]


def test_the_embedded_form_wants_nothing(tmp_path):
    found = findings(tmp_path, {})
    assert statuses(found, "database", "redis", "qdrant", "replicas") == ["ok"] * 4
    assert not (tmp_path / "data").exists()


def test_stores_that_are_well_and_a_schema_that_is_not_there_yet(tmp_path, stores):
    postgres, redis, server = stores
    database = postgres.new_database()
    config = {
        "auth": {"key_secret": "k" * 40},
        "qdrant": {"url": server.url},
        "models": {
            "good": {"base_url": server.url, "upstream_model": "theirs", "api_key": "good"},
            "other": {"base_url": server.url, "upstream_model": "nobodys", "api_key": "good"},
        },
    }
    before = findings(tmp_path, config, database=database, redis=redis.url)
    assert told(before, "database") == ("fail", "enginehouse db upgrade")
    assert run("db", "upgrade", cwd=tmp_path, DATABASE_URL=database).returncode == 0
    found = findings(tmp_path, config, database=database, redis=redis.url)
    assert statuses(found, "database", "redis", "qdrant", "replicas") == ["ok"] * 4
    assert "clocks agree" in found["database"].detail
    assert "keeps nothing over a restart" in found["redis"].detail
    assert told(found, "server openai") == ("warn", "Mend its upstream_model.")
    assert "nobodys" in found["server openai"].detail


def test_a_redis_that_would_forget_and_a_server_that_refuses_the_key(tmp_path, stores):
    _, redis, server = stores
    redis.client.config_set("maxmemory", 100_000_000)
    redis.client.config_set("maxmemory-policy", "allkeys-lru")
    model = {"base_url": server.url, "api_key": "bad"}
    found = findings(tmp_path, {"models": {"m": model}}, redis=redis.url)
    assert found["redis"].status is Status.WARN
    assert "allkeys-lru" in found["redis"].detail
    assert told(found, "server openai") == ("fail", "Mend the api_key of 'm'.")


def test_what_is_away_is_named_with_what_to_do(tmp_path):
    nowhere = f"127.0.0.1:{free_port()}"
    config = {"qdrant": {"url": f"http://{nowhere}"}, "models": {"m": {"base_url": f"http://{nowhere}/v1"}}}
    database, redis = f"postgresql://ann:secret-word@{nowhere}/d", f"redis://:secret-word@{nowhere}/0"
    found = findings(tmp_path, config, database=database, redis=redis)
    for name in ("database", "redis", "qdrant", "server openai"):
        assert found[name].status.value == "fail", name
        assert found[name].remedy.startswith("Start it, check the network"), name


def test_the_command_says_so_too_and_its_exit_code(tmp_path):
    variables = {"REDIS_URL": f"redis://:secret-word@127.0.0.1:{free_port()}/0", "PORT": str(free_port())}
    done = run("doctor", "--json", cwd=tmp_path, ENGINEHOUSE_DATA_DIR=str(tmp_path / "data"), **variables)
    (redis,) = [one for one in json.loads(done.stdout)["findings"] if one["name"] == "redis"]
    assert (done.returncode, redis["status"], "secret-word" in done.stdout + done.stderr) == (1, "fail", False)
