"""`python -m bench.tied CORE COMMAND…`: becomes a command that runs on one core and dies with its parent.

However the runner ends, `kill -9` included, nothing that it started stays behind. CORE is a number or `any`.
"""

import ctypes
import os
import signal
import sys

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1


def _become(core: str, *command: str) -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent died first")
    if core != "any":
        os.sched_setaffinity(0, {int(core)})
    os.execvp(command[0], command)


if __name__ == "__main__":
    _become(*sys.argv[1:])
