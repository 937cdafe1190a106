"""Unit tests have no network: any socket but the event loop's own pair is refused."""

import pytest
import structlog
from pytest_socket import disable_socket


@pytest.fixture(autouse=True)
def _no_network():
    disable_socket(allow_unix_socket=True)


@pytest.fixture(autouse=True)
def _logs_of_its_own():
    """A command under test sets up logging to its own standard error, which is closed when the test is over."""
    yield
    structlog.reset_defaults()
