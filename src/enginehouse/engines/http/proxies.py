"""The proxy between this machine and a server, where the environment names one, as for other programs."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from enginehouse.errors import ModelLoadFailed

__all__ = ["Proxy", "proxies_of_environment", "proxy_to"]

_KINDS = ("http", "https")

proxies_of_environment = getproxies_environment
"""What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, by `http`, `https`, `all` and `no`. Names in
lower case come first, as in curl."""


class Proxy(NamedTuple):
    """Who is asked in the place of a server."""

    url: str
    """Its address; it may hold a password, and is neither told nor logged."""
    variable: str
    """The environment variable that names it."""

    def __repr__(self) -> str:
        """Its variable only."""
        return f"Proxy({self.variable})"


def proxy_to(root: str, proxies: Mapping[str, str]) -> Proxy | None:
    """The proxy to a server; None where it is asked itself.

    This machine is always asked itself: no proxy would find here what we do.

    Args:
        root: the server's address.
        proxies: as `proxies_of_environment` says.

    Raises:
        ModelLoadFailed: it is of a kind that is not spoken here.
    """
    url = urlsplit(root)
    name = url.scheme if proxies.get(url.scheme) else "all"
    address, host = proxies.get(name, "").strip(), url.hostname
    if not address or not host or _is_here(host) or _is_excepted(host, url.netloc, proxies.get("no", "")):
        return None
    variable = f"{name.upper()}_PROXY"
    if "://" not in address:
        address = f"http://{address}"
    if urlsplit(address).scheme.lower() not in _KINDS:
        raise ModelLoadFailed(
            f"{variable} names a proxy of a kind that engines cannot be asked by: give it as http://host:port, or "
            "name the engine's host in NO_PROXY."
        )
    return Proxy(address, variable)


def _is_here(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_excepted(host: str, place: str, listed: str) -> bool:
    """Whether `NO_PROXY` names it: by its name, by a domain around it, or by a network around its address."""
    exceptions = listed.lower().replace(",", " ").split()
    address = _address(host)
    if "*" in exceptions or (address is not None and any(_is_within(address, one) for one in exceptions)):
        return True
    names = host, place.rpartition("@")[2].lower()  # without and with its port
    return any(
        name == one or name.endswith(f".{one}") for one in (e.lstrip(".") for e in exceptions) for name in names
    )


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_within(address: IPv4Address | IPv6Address, network: str) -> bool:
    """Networks are written as `10.0.0.0/8`; an address is one of its own."""
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False
