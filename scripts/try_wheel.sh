#!/usr/bin/env bash
# Install a wheel into a clean environment, away from the checkout, and try it.
#
#   scripts/try_wheel.sh PYTHON WHEEL
set -euo pipefail

python=$1
wheel=$(realpath "$2")
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

"$python" -m venv "$room/venv"
"$room/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-input "$wheel"
cd "$room"
"$room/venv/bin/python" -I - "$wheel" <<'PY'
import sys
from importlib import metadata, resources

before = set(sys.modules)
import streamflow

loaded = set(sys.modules) - before
assert streamflow.__file__.startswith(sys.prefix), f"imported from {streamflow.__file__}, not from the wheel"
assert resources.files("streamflow").joinpath("py.typed").is_file(), "py.typed is missing: nobody's type checker will see the types"
assert not {"trio", "pydantic"} & loaded, f"import streamflow loads {sorted({'trio', 'pydantic'} & loaded)}"
assert any(path.name == "LICENSE" for path in metadata.files("streamflow-runtime")), "LICENSE is missing"
version = metadata.version("streamflow-runtime")
assert version == streamflow.__version__, f"the wheel says {version}, the package {streamflow.__version__}"
print(f"{sys.argv[1].rpartition('/')[2]}: {len(loaded)} modules imported in a clean environment, typed")
PY
# The command starts without any extra.
"$room/venv/bin/streamflow" --help >/dev/null
