"""Where a service is reached."""

from enginehouse.settings.schema import ServerSettings

__all__ = ["address"]

_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, asked


def address(server: ServerSettings) -> str | None:
    """Where a service with these settings is reached from this machine; None when only it knows its port."""
    host = _WILDCARDS.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}" if server.port else None
