"""Model hubs that speak Hugging Face's protocol: a file's address, its digest, and what a refusal means."""

import re
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr
from yarl import URL

from enginehouse.stores.artifacts.network import Address, http_url
from enginehouse.stores.artifacts.specs import HubFile
from enginehouse.stores.artifacts.transfer import Remote

__all__ = ["Hub"]

_HINT = "or set sources.hf_endpoint to a hub that answers, or give a path to the file"
_SHA256_TAG = re.compile(r'"?([0-9a-fA-F]{64})"?')


class Hub:
    """A hub at a URL.

    Raises:
        SourceError: the URL is no http or https URL.
    """

    def __init__(self, endpoint: str, token: SecretStr | None) -> None:
        self._root, self._login = http_url(endpoint, "the setting sources.hf_endpoint")
        if token:
            self._login = {"Authorization": f"Bearer {token.get_secret_value()}"}

    def remote(self, file: HubFile, sha256: str | None) -> Remote:
        """How to fetch one file. The token goes to the hub alone, never to where it redirects."""
        address = Address(
            url=self._url(file),
            hint=_HINT,
            refusal=lambda response: self._refusal(file, response),
            headers=self._login,
        )
        return Remote(name=file.path.name, address=address, sha256=sha256, announced=self._announced)

    def _url(self, file: HubFile) -> URL:
        path = f"{file.org}/{file.repo}/resolve/{quote(file.revision, safe='')}/{quote(str(file.path))}"
        return URL(f"{str(self._root).rstrip('/')}/{path}", encoded=True)

    def _refusal(self, file: HubFile, response: aiohttp.ClientResponse) -> str:
        repository, host = f"{file.org}/{file.repo}", self._root.host
        if response.status in {401, 403}:
            wrong = "does not accept the token" if self._login else "wants a token"
            return (
                f"{host} {wrong} for {repository} (or there is no such repository): set sources.hf_token, or the "
                "variable HF_TOKEN, to a token of an account that has accepted the model's terms."
            )
        if response.status == 404:
            return f"{host} has no file {str(file.path)!r} in {repository} at revision {file.revision!r}."
        return f"{host} does not give out {file.path.name} (status {response.status})."

    def _announced(self, response: aiohttp.ClientResponse) -> str | None:
        """The file's sha256 as the hub itself tells it: large files have it as their tag, small ones have none."""
        for step in (*response.history, response):
            if step.url.origin() == self._root.origin():
                for header in ("X-Linked-Etag", "ETag"):
                    if found := _SHA256_TAG.fullmatch(step.headers.get(header, "")):
                        return found[1].lower()
        return None
