"""The load generator: asks one address in one way for a while, and says how long the answers took.

It is a process of its own (`python -m bench.load`, work on stdin, what was seen on stdout), so that neither
the runner nor the gateway shares an interpreter with it.
"""

from bench.load.work import Sample, Work

__all__ = ["Sample", "Work"]
