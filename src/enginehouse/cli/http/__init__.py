"""The server's connections: what a lane may answer is offered to it, all else goes uvicorn's way.

`connections` speaks HTTP, `offers` are requests that need no ASGI, `heads` are what a caller sends again and again,
`leaving` is how callers go. What a lane is, is said by `api.calls`.
"""

from enginehouse.cli.http.connections import Connection
from enginehouse.cli.http.offers import Offers

__all__ = ["Connection", "Offers"]
