#!/usr/bin/env bash
# Make the virtual environment usable: keep a sound one, recreate any other. Prints only when it does something.
#
#   scripts/venv.sh VENV [PYTHON]
#
# Sound: its Python runs, is 3.11 or newer, is the one asked for (if one was), has a pip that knows `--group` (25.1), and
# was not copied here with another checkout. VENV/.stamp-venv is touched only when the environment is new to us: all
# that is installed into it depends on that file.
set -euo pipefail
exec </dev/null >&2 # standard input and output belong to what runs afterwards

venv=$1
wanted=${2:-}
stamp=$venv/.stamp-venv

# Prints what an environment depends on, nothing if it is no usable Python.
identify() {
    "$1" -c 'import sys
if sys.version_info >= (3, 11): print("%d.%d" % sys.version_info[:2], sys.base_prefix)' 2>/dev/null || true
}

knows_groups() {
    "$venv/bin/python" -m pip install --help 2>/dev/null | grep -q -- '--group'
}

if [ -n "$wanted" ]; then
    candidates=$wanted
else
    candidates="python3 python3.14 python3.13 python3.12 python3.11 python"
fi

have=$(identify "$venv/bin/python")
if [ -n "$have" ]; then
    if [ -f "$stamp" ]; then
        # The stamp says it all, so that this costs one start of Python.
        if [ "$(cat "$stamp")" = "$PWD $have" ] && { [ -z "$wanted" ] || [ "$(identify "$wanted")" = "$have" ]; }; then
            exit 0
        fi
    elif [ -z "$wanted" ] || [ "$(identify "$wanted")" = "$have" ]; then
        if knows_groups || { "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
            "$venv/bin/python" -m pip install --quiet --no-input --upgrade 'pip>=25.1'; }; then
            echo "$PWD $have" >"$stamp"
            exit 0
        fi
    fi
fi

for python in $candidates; do
    found=$(identify "$python")
    [ -z "$found" ] || break
done
if [ -z "$found" ]; then
    echo "streamflow needs Python 3.11 or newer; tried: $candidates. Install one, or name it: make PYTHON=/path/to/python"
    exit 1
fi

if [ -e "$venv" ]; then
    echo "==> $venv is broken or was made by another Python or for another checkout: making it anew"
else
    echo "==> making $venv with Python ${found%% *}"
fi
# A Python that lives in the environment (an activated one) cannot make it anew: its base can.
python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", None) or sys.executable)')
rm -rf "$venv"
if ! "$python" -m venv "$venv"; then
    rm -rf "$venv"
    echo "$python could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
    exit 1
fi
knows_groups || "$venv/bin/python" -m pip install --quiet --no-input --upgrade 'pip>=25.1'
echo "$PWD $found" >"$stamp"
