"""The secret that stored keys are hashed with: from the settings, or made once in the data directory."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from enginehouse.errors import SettingsError
from enginehouse.settings.schema import AuthSettings

__all__ = ["FILE_NAME", "key_secret"]

FILE_NAME = "keys.secret"


def key_secret(auth: AuthSettings, data_dir: Path) -> bytes:
    """The secret; its file is readable by its owner only, and made when there is none.

    Raises:
        SettingsError: the file cannot be made or read, or others may read it.
    """
    if auth.key_secret is not None:
        return auth.key_secret.get_secret_value().encode()
    file = data_dir / FILE_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _make(file)
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"{FILE_NAME} in the data directory may be read by others: chmod 600 it.")
        found = file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"{FILE_NAME} in the data directory cannot be used: {error.strerror}. Mend that, or set "
            "auth.key_secret."
        ) from error
    if len(found) < 32:
        raise SettingsError(f"{FILE_NAME} in the data directory is damaged: restore it from a backup.")
    return found


def _make(file: Path) -> None:
    """Whole or not at all, also when several processes start at once: the first one's counts."""
    if file.exists():
        return
    scratch = file.with_name(f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as output:
            output.write(secrets.token_hex(32).encode())
            output.flush()
            os.fsync(output.fileno())
        with suppress(FileExistsError):
            file.hardlink_to(scratch)
    finally:
        scratch.unlink(missing_ok=True)
