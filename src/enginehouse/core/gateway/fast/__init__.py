"""The fast path: the commonest requests, answered in few steps beside the way that all others take.

It looks at everything first, without any effect and without waiting; what is out of the ordinary goes the general
way as though nothing had been. Then it takes everything in one step, waits for the answer only, and leaves behind
what the general way would have left: the same record, figures, limits and kept answer.
"""

from enginehouse.core.gateway.fast.run import COMPLETED, GoGenerally, Run
from enginehouse.core.gateway.fast.stream import Streamed
from enginehouse.core.gateway.fast.telling import Outcome
from enginehouse.core.gateway.fast.tracks import Route, Track, Tracks

__all__ = ["COMPLETED", "GoGenerally", "Outcome", "Route", "Run", "Streamed", "Track", "Tracks"]
