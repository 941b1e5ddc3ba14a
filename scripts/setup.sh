#!/usr/bin/env bash
# Make .venv from the lock file. Run by `make setup`; does nothing when the environment is already the right one.
#
# The stamp is written last and names lock, interpreter and place. Without a stamp that fits, .venv is made anew: an
# environment that an interrupted run left half made is never used. Downloads are cached by pip, so starting over is cheap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LOCK=requirements/dev.lock
STAMP=.venv/.complete

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# A pyenv shim exists for every version and fails for those not selected, Debian splits venv from python3, and the wheels
# are not for free-threaded builds: so try instead of looking at names.
usable() {
    [ -n "$1" ] && "$1" -c '
import ensurepip, sys, venv
sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14) or "t" in sys.abiflags)' >/dev/null 2>&1
}

# One path a line, the best first.
candidates() {
    local version root
    for version in 3.13 3.12; do
        command -v "python$version" || true
        for root in "${PYENV_ROOT:-}" "$(pyenv root 2>/dev/null || true)" "$HOME/.pyenv"; do
            [ -z "$root" ] || compgen -G "$root/versions/$version*/bin/python$version" | sort -rV || true
        done
    done
    command -v python3 || true
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.12 or 3.13 that can make virtual environments"
        printf '%s' "$PYTHON"
        return
    fi
    while read -r candidate; do
        if usable "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done < <(candidates)
    die "no Python 3.12 or 3.13 with venv found, neither on PATH nor in pyenv: install one, or name it: make setup PYTHON=/path/to/python3.13"
}

# Reads the lock through the interpreter: sha256sum is called differently on every system.
wanted_stamp() {
    "$1" -c '
import hashlib, pathlib, platform, sys
print(platform.python_version(), hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest(), pathlib.Path.cwd())' "$LOCK"
}

trap 'say "interrupted: the next run starts over"; exit 130' INT TERM

[ -f "$LOCK" ] || die "$LOCK is missing: restore it with git checkout, or make it with make lock"

# Two makes at once would build into the same folder. The lock is let go of when this script ends, however it ends.
if command -v flock >/dev/null; then
    exec 9<"$LOCK"
    flock -n 9 || { say "waiting for another setup to finish"; flock 9; }
fi

# A linked environment belongs to another place: used as it is, never made anew.
if [ -L .venv ]; then
    usable .venv/bin/python || die ".venv is a link to $(readlink .venv), which has no usable Python: remove the link"
    exit 0
fi

if [ -f "$STAMP" ] && usable .venv/bin/python && [ "$(cat "$STAMP")" = "$(wanted_stamp .venv/bin/python)" ]; then
    exit 0
fi

python=$(find_python)
say "making .venv with $("$python" --version) ($python)"
rm -f "$STAMP"
"$python" -m venv --clear .venv || die "$python cannot make a virtual environment in $PWD/.venv"
say "installing the locked packages (once; about a minute)"
started=$SECONDS
# --no-compile: Python compiles what is really imported, at its first import; that halves the time here.
log=.venv/setup.log
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
    --no-compile --require-hashes --only-binary :all: -r "$LOCK" 2>&1 | tee "$log" | awk '
        /^(Collecting|Processing) / { if (++n % 20 == 0) { print "setup: " n " packages found"; fflush() } }
        /^Installing collected /    { print "setup: all " n " here, unpacking"; fflush() }'; then
    grep -v '^WARNING' "$log" | tail -n 15 >&2
    die "packages could not be installed (see above; complete log in $log)"
fi
case "$(uname -s)" in Linux)
    .venv/bin/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null ||
        die "LightGBM needs libgomp.so.1: apt-get install libgomp1 (or your system's OpenMP package), then run it again" ;;
esac
wanted_stamp .venv/bin/python >"$STAMP.partial"
mv "$STAMP.partial" "$STAMP"
say "done in $((SECONDS - started)) s"
