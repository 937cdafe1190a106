"""What a service that uses little does not load: libraries come with their first use."""

import subprocess
import sys

import pytest

_NOT_AT_START = (
    *(
        "aiohttp",
        "alembic",
        "asyncpg",
        "cryptography",
        "genai_prices",
        "jsonschema_rs",
        "jwt",
        "numpy",
        "onnxruntime",
    ),
    *(
        "opentelemetry.sdk",
        "qdrant_client",
        "ray",
        "redis",
        "sqlalchemy.ext.asyncio",
        "sqlalchemy.orm",
        "tokenizers",
    ),
)


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What is there once everything that `serve` needs is imported."""
    program = "import sys, enginehouse.app, enginehouse.cli.serve; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


@pytest.mark.parametrize("library", _NOT_AT_START)
def test_it_is_loaded_by_who_needs_it(loaded, library):
    assert library not in loaded


def test_a_semantic_cache_that_nobody_asks_needs_no_arrays():
    program = (
        "import sys, enginehouse.core.cache.semantic, enginehouse.core.cache.semantic.opening; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "numpy" not in done.stdout.split()
