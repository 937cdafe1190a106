"""What all tests need of the process they run in."""

import signal

from hypothesis import settings

# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure():
    """A shell starts background jobs with Ctrl-C ignored, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
