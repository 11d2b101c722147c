#!/usr/bin/env bash
# The differential suite for PyTorch and TensorFlow, in an environment of its own in the cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(.venv/bin/python -c 'from benchmarks.scoring.environments import DEEP_LOCK, python_of
print(python_of(DEEP_LOCK))')
PARITY=${PARITY:-full} "$python" -m pytest -q -p no:cacheprovider -k "torch or keras or tensorflow" \
  tests/parity "$@"
