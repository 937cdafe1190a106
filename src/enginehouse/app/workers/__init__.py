"""Several processes on one port: the owner, which is the whole service, and workers that take work off its hands.

A worker reads requests that generate, asks the owner for what only one process can decide (limits, turns, engines,
cached answers, records), and passes the engine's answer on by itself. `desk` is where the owner is asked, `link` is
how a worker asks, `linked` is what its rooms have in place of the owner's own, and `worker` joins them.
"""

from enginehouse.app.workers.desk import Desk
from enginehouse.app.workers.services import Services
from enginehouse.app.workers.worker import Worker, open_worker

__all__ = ["Desk", "Services", "Worker", "open_worker"]
