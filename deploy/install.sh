#!/bin/sh
# Installs Enginehouse as a service of this machine: a user, a virtual environment, settings with a key, a systemd unit.
#   sudo deploy/install.sh [--wheel FILE] [--gpu] [--no-start]
# Run it again to upgrade: settings, keys and data stay as they are. How to take it away again: docs/howto/systemd.md.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
wheel=
gpu=no
start=yes
# A folder to install below instead of /, for packagers and tests; nothing is started then.
root=${DESTDIR:-}
python=${PYTHON:-python3}

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

usage() { sed -n '2,4s/^# //p' "$0"; }

while [ $# -gt 0 ]; do
    case $1 in
        --wheel) [ $# -ge 2 ] || fail "--wheel wants a file."; wheel=$2; shift 2 ;;
        --gpu) gpu=yes; shift ;;
        --no-start) start=no; shift ;;
        -h | --help) usage; exit 0 ;;
        *) fail "unknown option $1; try --help." ;;
    esac
done

prefix=$root/opt/enginehouse
settings=$root/etc/enginehouse
data=$root/var/lib/enginehouse
units=$root/etc/systemd/system

check() {
    [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "run it as root: sudo deploy/install.sh"
    command -v "$python" >/dev/null || fail "there is no $python; install Python 3.11 or newer, or set PYTHON."
    "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' \
        || fail "$python is older than 3.11 or lacks venv; install python3-venv, or set PYTHON."
    [ -z "$wheel" ] || [ -f "$wheel" ] || fail "there is no file $wheel."
}

make_user() {
    [ -z "$root" ] || return 0
    getent passwd enginehouse >/dev/null && return 0
    say "Making the user enginehouse ..."
    useradd --system --user-group --home-dir /var/lib/enginehouse --shell /usr/sbin/nologin enginehouse
}

make_environment() {
    say "Installing into $prefix (about a minute the first time) ..."
    [ -x "$prefix/bin/python" ] || "$python" -m venv "$prefix"
    pip="$prefix/bin/python -m pip --disable-pip-version-check install --quiet"
    $pip --require-hashes --requirement "$here/constraints-server.txt"
    if [ -n "$wheel" ]; then
        $pip --no-deps --force-reinstall "$wheel"
    else
        $pip --no-deps --no-build-isolation --force-reinstall "$here"
    fi
}

make_settings() {
    install -d -m 0755 "$settings"
    install -d -m 0750 "$data"
    if [ ! -e "$settings/enginehouse.yaml" ]; then
        say "Writing $settings/enginehouse.yaml ..."
        cat > "$settings/enginehouse.yaml" <<'END'
# Settings of Enginehouse; /opt/enginehouse/bin/enginehouse config example prints every key there is.
data_dir: /var/lib/enginehouse
server:
  host: 127.0.0.1
  port: 8000
# models_dir: /srv/models
END
        chmod 0644 "$settings/enginehouse.yaml"
    fi
    if [ ! -e "$settings/environment" ]; then
        say "Writing $settings/environment with a new key ..."
        (umask 077 && printf 'API_KEY=%s\n' "$("$python" -c 'import secrets; print(secrets.token_hex(32))')" \
            > "$settings/environment")
    fi
    [ -n "$root" ] && return 0
    chown root:enginehouse "$settings/environment"
    chmod 0640 "$settings/environment"
    chown enginehouse:enginehouse "$data"
}

make_unit() {
    install -d -m 0755 "$units"
    install -m 0644 "$here/deploy/systemd/enginehouse.service" "$units/enginehouse.service"
    if [ "$gpu" = yes ]; then
        install -d -m 0755 "$units/enginehouse.service.d"
        install -m 0644 "$here/deploy/systemd/gpu.conf" "$units/enginehouse.service.d/gpu.conf"
    fi
}

run() {
    [ -z "$root" ] && [ "$start" = yes ] || return 0
    systemctl daemon-reload
    systemctl enable --quiet enginehouse
    systemctl restart enginehouse
}

check
make_user
make_environment
make_settings
make_unit
run
say "Done. The key is in $settings/environment; the log: journalctl --unit enginehouse --follow"
