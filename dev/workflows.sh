#!/usr/bin/env bash
# Lints the workflows, and the shell scripts in them if shellcheck is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(python -m dev.cluster tools actionlint)
exec "$bin/actionlint" -no-color .github/workflows/*.yaml
