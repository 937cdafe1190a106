"""Settings from a text, and the message of a refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from enginehouse.errors import SettingsError
from enginehouse.settings import Settings, load


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    """Read settings written in a text, with the variables given by name."""

    def read(text: str = "", /, name: str = "enginehouse.yaml", **environ: str) -> Settings:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return load(path, environ)

    return read


@pytest.fixture
def refusal(read: Callable[..., Settings]) -> Callable[..., str]:
    """The message with which settings are refused."""

    def refusal(text: str = "", /, name: str = "enginehouse.yaml", **environ: str) -> str:
        with pytest.raises(SettingsError) as caught:
            read(text, name, **environ)
        return caught.value.message

    return refusal
