"""Unit tests have no network: any socket but the event loop's own pair is refused."""

import pytest
from pytest_socket import disable_socket


@pytest.fixture(autouse=True)
def _no_network():
    disable_socket(allow_unix_socket=True)
