"""Servers asked over TLS: whose certificates are believed, and what is said where there is no connection."""

import ssl
from collections.abc import Mapping
from functools import cache
from threading import Lock
from types import MappingProxyType

from enginehouse.errors import UpstreamDied

__all__ = ["refusal_of", "trusted"]

_ISSUERS = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL (`X509_V_ERR_…`) says of a chain that ends with nobody it knows."""
_FLAWS: Mapping[int, str] = MappingProxyType(
    {
        9: "is not valid yet; look at this machine's clock",
        10: "has expired; whoever runs it has to renew it",
        62: "is for another name than the one in base_url",
        64: "is for another address than the one in base_url",
    }
)
_making = Lock()


def trusted() -> ssl.SSLContext:
    """Whom this machine trusts, and who is named by SSL_CERT_FILE and SSL_CERT_DIR; one for all connections.

    The first call reads some hundred certificates, 10 to 60 ms: not for the event loop.
    """
    with _making:
        return _made()


def refusal_of(error: OSError) -> UpstreamDied:
    """Why there is no connection to a server, and what to do about it; without the server's name or address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamDied(f"The engine's certificate {_flaw(error)}.")
    if isinstance(error, ssl.SSLError):
        return UpstreamDied(
            f"No TLS connection to the engine came about ({error.reason}); "
            "where it speaks plain HTTP, its base_url begins with http://."
        )
    return UpstreamDied("The engine refused the connection.")


@cache
def _made() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _flaw(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _ISSUERS:
        return (
            f"is of an issuer that this machine does not trust ({error.verify_message}); "
            "name a file with the issuer's certificate in SSL_CERT_FILE"
        )
    return _FLAWS.get(error.verify_code, f"is not accepted ({error.verify_message})")
