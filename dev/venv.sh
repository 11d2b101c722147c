#!/usr/bin/env bash
# Makes .venv, exactly as requirements.lock says. Needs Python 3.11 or later.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.11 or later is needed; set PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  if [ "$(id -u)" != 0 ]; then
    echo "Python's venv module is missing: install the package python3-venv" >&2
    exit 1
  fi
  apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
uv_version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
.venv/bin/uv --version 2>/dev/null | grep -qF "uv $uv_version" ||
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
.venv/bin/uv pip sync --quiet --python .venv/bin/python requirements.lock
rm -f .venv/.complete-*
