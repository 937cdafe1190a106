"""What is never shown: passwords inside addresses."""

import re

__all__ = ["MASK", "without_passwords"]

MASK = "***"

_CREDENTIALS = re.compile(r"://(?:(?P<user>[^/\s:@]*):)?[^\s]*@")
_PARAMETER = re.compile(r"(?P<start>[?&](?:password|token|api_key)=)[^&\s]+", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Mask passwords and tokens of addresses in a text; what merely looks like one is masked too."""
    masked = _CREDENTIALS.sub(
        lambda found: f"://{'' if found['user'] is None else found['user'] + ':'}{MASK}@", text
    )
    return _PARAMETER.sub(rf"\g<start>{MASK}", masked)
