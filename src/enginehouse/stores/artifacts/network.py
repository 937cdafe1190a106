"""HTTP as fetches need it: patient, never loud about secrets, and with failures told in plain words."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
from msgspec import Struct
from yarl import URL

from enginehouse import __version__
from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.patience import Patience

__all__ = [
    "Address",
    "Attempts",
    "Interrupted",
    "Unreached",
    "Web",
    "http_url",
    "persist",
    "shown",
]

T = TypeVar("T")

_UNDERSTOOD = {200, 206, 416}
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_RETRY_AFTER = 60.0
_REAL_GAIN = 1 << 20


class Address(Struct, frozen=True, kw_only=True):
    """Where to ask and how."""

    url: URL
    """Without credentials."""
    hint: str
    """What to do when nobody answers there."""
    refusal: Callable[[aiohttp.ClientResponse], str]
    """Puts a final error status into words."""
    headers: Mapping[str, str] = {}

    @property
    def host(self) -> str:
        """For people."""
        return self.url.host or str(self.url)


class Interrupted(Exception):
    """A try failed in a way that another may mend; holds nothing secret."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Unreached(Interrupted):
    """There was not even a connection."""


class Web:
    """One HTTP session with the fetches' own manners."""

    def __init__(self, session: aiohttp.ClientSession, patience: Patience) -> None:
        self.patience = patience
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, patience: Patience) -> AsyncGenerator["Web"]:
        """A session that ends with the context."""
        timeout = aiohttp.ClientTimeout(
            total=None, connect=patience.connect, sock_connect=patience.connect, sock_read=patience.silence
        )
        async with aiohttp.ClientSession(
            timeout=timeout,
            headers={"User-Agent": f"enginehouse/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,  # proxies, as every other downloader on the machine finds them
        ) as session:
            yield cls(session, patience)

    @asynccontextmanager
    async def get(self, address: Address, headers: Mapping[str, str]) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Ask; also while the body is read, whatever goes wrong on the way is raised in our words.

        Credentials are sent to the address itself; aiohttp drops them when a redirect leaves its origin.

        Raises:
            Interrupted: the peer is busy, silent, or the connection broke.
            SourceError: another try would end the same way.
        """
        try:
            async with self._session.get(address.url, headers={**address.headers, **headers}) as response:
                _ensure_welcome(response, address)
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise _told(error, address, self.patience) from error


class Attempts:
    """The row of failures without real progress between them."""

    def __init__(self, pauses: tuple[float, ...], have: int = 0) -> None:
        self.failures = 0
        self._pauses = pauses
        self._have = have

    def failed(self, have: int) -> float | None:
        """Note a failure with `have` bytes here: seconds to pause before the next try, None when it is enough."""
        if have - self._have >= _REAL_GAIN:
            self.failures = 0
        self._have = have
        self.failures += 1
        return self._pauses[self.failures - 1] if self.failures <= len(self._pauses) else None


async def persist(
    attempt: Callable[[], Awaitable[T]],
    *,
    address: Address,
    patience: Patience,
    have: Callable[[], int] = int,
    waiting: Callable[[str], object] = repr,
) -> T:
    """Try until it works or it is enough.

    Raises:
        SourceError: nobody could be reached at all, or the tries are used up.
    """
    attempts = Attempts(patience.pauses, have())
    while True:
        try:
            return await attempt()
        except Interrupted as setback:
            if isinstance(setback, Unreached) and attempts.failures == 0:
                raise SourceError(f"{setback.reason}: check the network, {address.hint}.") from setback
            pause = attempts.failed(have())
            if pause is None:
                raise SourceError(_given_up(setback.reason, attempts.failures, have())) from setback
            pause = max(pause, setback.retry_after)
            waiting(f"{setback.reason}; next try in {pause:g} s")
        await asyncio.sleep(pause)


def http_url(text: str, what: str) -> tuple[URL, Mapping[str, str]]:
    """A URL without its user and password, and the headers that carry those; `what` names it when it is wrong.

    Raises:
        SourceError: it is no http or https URL.
    """
    try:
        url = URL(text)
        if url.scheme in {"http", "https"} and url.host:
            return url.with_user(None), _credentials(url)
    except ValueError:
        pass  # the text may hold a password: it goes into no message, nor a cause
    raise SourceError(f"{what[0].upper()}{what[1:]} must be an http or https URL.")


def _credentials(url: URL) -> Mapping[str, str]:
    if not url.user:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(url.user, url.password or "", encoding="utf-8")}


def shown(url: URL) -> str:
    """An address without what may be secret in it."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _given_up(reason: str, failures: int, have: int) -> str:
    kept = " What has come is kept: run it again to go on from there." if have else " Run it again later."
    return f"{reason}, and {failures} tries in a row did not help.{kept}"


def _ensure_welcome(response: aiohttp.ClientResponse, address: Address) -> None:
    if response.status in _BUSY:
        raise Interrupted(f"{address.host} answered {response.status}", _retry_after(response))
    if response.status not in _UNDERSTOOD:
        raise SourceError(address.refusal(response))


def _retry_after(response: aiohttp.ClientResponse) -> float:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_RETRY_AFTER) if seconds.isdecimal() else 0.0


def _told(error: Exception, address: Address, patience: Patience) -> Exception:
    """What happened, without aiohttp's own texts: those may hold addresses with credentials."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return SourceError(f"{error.host} shows a certificate that is not trusted on this machine.")
        case aiohttp.ClientConnectorError():
            return Unreached(f"{error.host} cannot be reached ({error.os_error.strerror or 'no connection'})")
        case aiohttp.ConnectionTimeoutError():
            return Unreached(f"{address.host} cannot be reached (no answer in {patience.connect:g} s)")
        case aiohttp.ClientHttpProxyError():
            return SourceError(f"The proxy does not let us through to {address.host} (status {error.status}).")
        case aiohttp.TooManyRedirects():
            return SourceError(f"{address.host} redirects in a circle.")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return SourceError(f"{address.host} leads to an address that is no http or https URL.")
        case TimeoutError():
            return Interrupted(f"{address.host} was silent for {patience.silence:g} s")
        case _:
            return Interrupted(f"The connection to {address.host} broke")
