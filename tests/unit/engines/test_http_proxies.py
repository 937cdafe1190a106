"""Which servers are asked by a proxy, and which are not."""

import pytest

from enginehouse.engines.http.proxies import Proxy, proxy_to
from enginehouse.errors import ModelLoadFailed

ONE = "http://proxy.corp:3128"
OTHER = "http://name:password@other.corp:3128"


@pytest.mark.parametrize(
    ("root", "proxies", "expected"),
    [
        ("https://api.openai.com", {}, None),
        ("https://api.openai.com", {"https": ONE, "http": OTHER}, Proxy(ONE, "HTTPS_PROXY")),
        ("http://models.corp:8000", {"https": ONE, "http": OTHER}, Proxy(OTHER, "HTTP_PROXY")),
        ("https://api.openai.com", {"http": ONE}, None),
        ("https://api.openai.com", {"all": ONE}, Proxy(ONE, "ALL_PROXY")),
        ("https://api.openai.com", {"all": ONE, "https": OTHER}, Proxy(OTHER, "HTTPS_PROXY")),
        ("https://api.openai.com", {"https": "proxy.corp:3128"}, Proxy(ONE, "HTTPS_PROXY")),
        ("https://api.openai.com", {"https": " "}, None),
        ("http:///v1", {"http": ONE}, None),
    ],
)
def test_the_variable_of_the_scheme_names_it(root, proxies, expected):
    assert proxy_to(root, proxies) == expected


@pytest.mark.parametrize(
    "root", ["http://localhost:8080", "http://127.0.0.1:8080", "http://127.8.9.1", "http://[::1]:11434"]
)
def test_this_machine_is_asked_itself(root):
    assert proxy_to(root, {"http": ONE}) is None


@pytest.mark.parametrize(
    ("root", "excepted"),
    [
        ("http://models.corp:8000", "*"),
        ("http://models.corp:8000", "models.corp"),
        ("http://models.corp:8000", "elsewhere, corp"),
        ("http://models.corp:8000", ".corp"),
        ("http://models.corp:8000", "elsewhere .corp"),
        ("http://models.corp:8000", "models.corp:8000"),
        ("http://name:password@models.corp:8000", "models.corp:8000"),
        ("http://10.2.3.4:8000", "10.0.0.0/8,.svc"),
        ("http://10.2.3.4:8000", "10.2.3.4"),
        ("http://[fd00::7]:8000", "fd00::/8"),
    ],
)
def test_who_is_excepted_is_asked_himself(root, excepted):
    assert proxy_to(root, {"http": ONE, "no": excepted}) is None


@pytest.mark.parametrize(
    ("root", "excepted"),
    [
        ("http://models.corp:8000", "els.corp"),
        ("http://models.corp:8000", "models.corp:80"),
        ("http://models.corp:8000", "10.0.0.0/8"),
        ("http://11.2.3.4:8000", "10.0.0.0/8"),
        ("http://10.2.3.4:8000", "no/network, 10.2.3"),
    ],
)
def test_who_is_not_excepted_is_asked_by_the_proxy(root, excepted):
    assert proxy_to(root, {"http": ONE, "no": excepted}) is not None


def test_a_kind_that_is_not_spoken_says_what_to_do():
    with pytest.raises(ModelLoadFailed, match="ALL_PROXY names a proxy of a kind") as told:
        proxy_to("https://api.openai.com", {"all": "socks5://name:secret@proxy.corp:1080"})
    assert "secret" not in told.value.message


def test_a_proxy_does_not_show_its_password():
    assert repr(Proxy(OTHER, "HTTP_PROXY")) == "Proxy(HTTP_PROXY)"
