"""What all tests need of the process they run in."""

import signal


def pytest_configure():
    """A shell starts background jobs with Ctrl-C ignored, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
