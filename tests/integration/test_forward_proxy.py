"""Servers that can be reached by a proxy only: the service asks them as other programs do, by the environment."""

import socket

import pytest

from tests.integration.authority import authority
from tests.integration.forward_proxy import ForwardProxy
from tests.integration.service import Service, Stream
from tests.integration.upstream import Upstream

LOGIN = "enginehouse:pa55word"


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(upstream):
    with Upstream(authority().serving(["secure.example"])) as secure:
        hosts = {"plain.example:80": upstream.url, "secure.example:443": secure.url}
        with ForwardProxy(hosts, LOGIN) as proxy:
            yield proxy


@pytest.fixture
def asked(proxy):
    """What the proxy hears from here on."""
    proxy.asked.clear()
    return proxy.asked


@pytest.fixture(scope="module")
def service_with(upstream, tmp_path_factory):
    """Starts a service that is told of an address as its proxy."""

    def start(address):
        folder = tmp_path_factory.mktemp("proxied")
        (folder / "authority.pem").write_bytes(authority().pem)
        models = {
            "plain": "http://plain.example/well/v1",
            "secure": "https://secure.example/well/v1",
            "unknown-plain": "http://unknown.example/v1",
            "unknown-secure": "https://unknown.example/v1",
            "here": f"{upstream.url}/well/v1",
        }
        config = {
            "data_dir": str(folder / "data"),
            "default_models": False,
            "models": {name: {"engine": "openai", "base_url": url} for name, url in models.items()},
            "cache": {"enabled": False},
            "routing": {"retries": 0, "breaker_failures": 10_000},
        }
        proxied = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address)
        none_else = dict.fromkeys(("ALL_PROXY", "NO_PROXY", "all_proxy", "no_proxy"), "")  # this machine's own
        trust = {"SSL_CERT_FILE": str(folder / "authority.pem")}
        return Service(folder, config, environ={**proxied, **none_else, **trust})

    return start


@pytest.fixture(scope="module")
def house(proxy, service_with):
    with service_with(proxy.url.replace("//", f"//{LOGIN}@")) as running:
        yield running


def chat(model, *, stream=False):
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "text first"}]}


def told(house, model):
    status, body, _ = house.call("/v1/chat/completions", chat(model), {"Content-Type": "application/json"})
    return status, body


@pytest.mark.parametrize("model", ["plain", "secure"])
def test_a_server_is_asked_by_the_proxy(house, asked, model):
    status, body = told(house, model)
    assert status == 200, body
    assert body["choices"][0]["message"]["content"]
    assert f"{model}.example" in asked[0]
    assert asked[0].startswith("CONNECT " if model == "secure" else "POST http://")


@pytest.mark.parametrize("model", ["plain", "secure"])
def test_streams_come_through_it_to_their_end(house, model):
    with Stream(house, "/v1/chat/completions", chat(model, stream=True)) as stream:
        assert b"data: [DONE]" in stream.read_to_end()


def test_who_runs_on_this_machine_is_asked_without_it(house, asked):
    assert told(house, "here")[0] == 200
    assert not asked


@pytest.mark.parametrize("model", ["unknown-plain", "unknown-secure"])
def test_what_the_proxy_does_not_connect_to_is_told(house, model):
    status, body = told(house, model)
    assert status == 502
    if model == "unknown-secure":
        assert body["error"]["message"].endswith(
            "The proxy of HTTPS_PROXY does not connect to the engine (it answers 403)."
        )


@pytest.mark.parametrize(("model", "variable"), [("plain", "HTTP_PROXY"), ("secure", "HTTPS_PROXY")])
def test_a_proxy_that_wants_a_password_says_so(proxy, service_with, model, variable):
    with service_with(proxy.url) as running:
        status, body = told(running, model)
    assert status == 502
    assert f"The proxy of {variable} wants to know who asks" in body["error"]["message"]


def test_a_proxy_that_is_away_is_named_by_its_variable_and_its_password_is_not_told(service_with):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://{LOGIN}@127.0.0.1:{taken.getsockname()[1]}"
    with service_with(address) as running:
        status, body = told(running, "secure")
        log = running.log()
    assert status == 502
    assert "The proxy of HTTPS_PROXY cannot be reached." in body["error"]["message"]
    assert "pa55word" not in f"{body}{log}"


def test_a_proxy_of_another_kind_is_told_of(service_with):
    with service_with("socks5://127.0.0.1:1080") as running:
        status, body = told(running, "secure")
    assert status == 503
    assert "HTTPS_PROXY names a proxy of a kind that engines cannot be asked by" in body["error"]["message"]
