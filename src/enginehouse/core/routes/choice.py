"""Which of several servers takes a request: values in, a value out, so that it can be held to what it promises.

Work goes where the least is outstanding for the server's weight. A server that has not got the model in memory
counts as busier by what a load is worth. A conversation goes back to the server that has read its beginning, for as
long as that one keeps up: servers are ranked by a hash of both (rendezvous), so that one more or less moves only
those conversations that have to move, and none takes much more than its share (bounded loads).
"""

import math
from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct

__all__ = ["Host", "Rule", "choose", "keeps_up", "rank"]

_LIGHT = 2
"""Requests at once with which any server keeps up."""


class Host(Struct, frozen=True, kw_only=True):
    """One server, as it stands now."""

    name: str
    """The same wherever this is reckoned, such as its address; no two hosts share one."""
    outstanding: int = 0
    """Requests that are there, or wait to be."""
    weight: float = 1.0
    """Its share of the work."""
    slots: int = 256
    """Requests that it runs at once."""
    warm: bool = True
    """Whether it has the model in memory, as far as is known."""
    asked: int = 0
    """A count that grows from one request to the next: when it was last asked. 0 is never."""


class Rule(Struct, frozen=True, kw_only=True):
    """How much else counts beside the work that is outstanding."""

    cold_cost: float = 4.0
    """Requests by which a server that would have to load the model counts as busier."""
    affinity: float = 1.5
    """How many times its share of all requests a server may have that takes a conversation of its own; 0 lets all
    requests go where the least is outstanding."""


def choose(hosts: Sequence[Host], head: bytes, rule: Rule) -> Host | None:
    """The server that is asked; None where there is none.

    Args:
        head: what a conversation begins with, the same in each of its turns; empty where nothing was read before.
    """
    least = min(hosts, key=lambda host: (cost(host, rule), host.asked), default=None)
    if least is None or not (head and rule.affinity and least.warm):
        return least
    warm = sorted((host for host in hosts if host.warm), key=lambda host: rank(host, head), reverse=True)
    return next((host for host in warm if keeps_up(host, warm, rule)), least)


def cost(host: Host, rule: Rule) -> float:
    """How busy it would be, for its weight."""
    return (host.outstanding + 1 + (0.0 if host.warm else rule.cold_cost)) / host.weight


def keeps_up(host: Host, among: Sequence[Host], rule: Rule) -> bool:
    """Whether it may take one more request for another reason than being the least busy."""
    share = host.weight / sum(one.weight for one in among)
    requests = 1 + sum(one.outstanding for one in among)
    most = max(math.ceil(rule.affinity * requests * share), _LIGHT)
    return host.outstanding < min(most, host.slots)


def rank(host: Host, head: bytes) -> float:
    """How much a server is this conversation's own; the highest is asked first.

    Over many conversations each server comes first as often as its weight says.
    """
    digest = blake2b(head, digest_size=8, key=host.name.encode()[:64]).digest()
    drawn = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -host.weight / math.log(drawn)
