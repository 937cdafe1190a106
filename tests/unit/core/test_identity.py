"""Who is calling, and whether strangers may reach the service."""

import pytest

from enginehouse.core.identity import Identity, check_exposure, require_admin
from enginehouse.errors import MissingCredentials, PermissionDenied, SettingsError
from enginehouse.settings.schema import AuthSettings, ServerSettings
from enginehouse.types import Principal

KEYS = AuthSettings.model_validate({"api_keys": ["first-key", "second-key"]})


def test_without_keys_everybody_is_the_local_admin():
    assert Identity(AuthSettings()).principal(None, None).role == "admin"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [("Bearer first-key", None), ("bearer second-key", None), (None, "first-key"), ("Bearer wrong", "second-key")],
)
def test_a_known_key_is_let_in(authorization, api_key):
    assert Identity(KEYS).principal(authorization, api_key).role == "admin"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (None, None),
        ("", ""),
        ("Bearer ", None),
        ("Bearer wrong", None),
        ("Basic first-key", None),
        ("first-key", None),
        (None, "first-key2"),
        (None, "first-ke"),
        ("Bearer clé-\u00e9", None),
    ],
)
def test_anything_else_is_refused(authorization, api_key):
    with pytest.raises(MissingCredentials) as refused:
        Identity(KEYS).principal(authorization, api_key)
    assert "first-key" not in refused.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.8", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    check_exposure(ServerSettings(host=host), AuthSettings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_anywhere_else_does(host):
    with pytest.raises(SettingsError, match=r"auth\.api_keys"):
        check_exposure(ServerSettings(host=host), AuthSettings())
    check_exposure(ServerSettings(host=host), KEYS)


def test_management_is_for_admins():
    require_admin(Principal(user="a", role="admin"))
    with pytest.raises(PermissionDenied):
        require_admin(Principal(user="a"))
