"""Runs a program that dies with its parent: `python -I tether.py PARENT_PID PROGRAM ARGS…`.

Linux keeps the parent-death signal across `exec`, so this process *becomes* the program. It imports nothing of
the house, to cost no more than the interpreter's own start.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie the knot, then become the program; exit code 127 says why that could not be done."""
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(0)  # the parent died before the knot was tied
    try:
        os.execv(program, [program, *arguments])  # noqa: S606 - the operator's own binary, no shell
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
