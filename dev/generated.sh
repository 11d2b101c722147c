#!/usr/bin/env bash
# Writes the generated files: CRD, field reference, the chart's copies. --check: only says whether
# they are fresh.
set -euo pipefail
cd "$(dirname "$0")/.."
crd=crds/mlflow-model-operator.dev_mlflowmodeldeployments.yaml
reference=docs/reference.md

if [ "${1:-}" = --check ]; then
  python -m mlflow_model_operator.api.generate.crd --check "$crd"
  python -m mlflow_model_operator.api.generate.reference --check "$reference"
  python charts/generate.py --check
else
  python -m mlflow_model_operator.api.generate.crd > "$crd"
  python -m mlflow_model_operator.api.generate.reference > "$reference"
  python charts/generate.py
fi
