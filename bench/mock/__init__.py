"""A mock upstream: an OpenAI-compatible server that costs almost nothing, so that it is not what is measured.

`python -m bench.mock --port 9000` runs it alone; `serve()` runs it inside a test's own loop.
"""

from bench.mock.manner import Manner
from bench.mock.server import Mock, Stats, serve

__all__ = ["Manner", "Mock", "Stats", "serve"]
