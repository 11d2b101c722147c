# The operator. Build from the repository's root.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
# Where packages come from, if not from PyPI.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
COPY images/build.lock /tmp/build.lock
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/build.lock
COPY images/operator.lock /tmp/requirements.lock
# Of the Kubernetes client nearly nothing is used: only what gets imported is compiled, below.
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/uv pip install --quiet --no-cache --python /opt/venv/bin/python \
      --no-deps --require-hashes -r /tmp/requirements.lock \
 && cd /opt/venv/lib/python3*/site-packages \
 && /opt/venv/bin/python -m compileall -q -j 0 -x '^\./kubernetes/' . \
 && /opt/venv/bin/python -c 'import kubernetes.aio.config' \
 && echo /opt/mlflow-model-operator > mlflow-model-operator.pth
# A bill of materials of the Python packages, for scanners.
ARG VERSION=0
RUN printf '[project]\nname = "mlflow-model-operator"\nversion = "%s"\nlicense = "Apache-2.0"\n' "$VERSION" \
      > /tmp/pyproject.toml \
 && /opt/build/bin/cyclonedx-py environment --no-validate --output-reproducible \
      --pyproject /tmp/pyproject.toml --output-file /opt/sbom.cdx.json /opt/venv/bin/python
COPY operator/mlflow_model_operator /opt/mlflow-model-operator/mlflow_model_operator
RUN /opt/venv/bin/python -m compileall -q /opt/mlflow-model-operator

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="mlflow-model-operator" \
      org.opencontainers.image.description="Serves MLflow models on Kubernetes and follows the registry" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/sbom.cdx.json /usr/local/share/sbom/operator.cdx.json
COPY --from=build /opt/mlflow-model-operator /opt/mlflow-model-operator
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true GIT_PYTHON_REFRESH=quiet MALLOC_ARENA_MAX=2 HOME=/tmp
USER 65532:65532
ENTRYPOINT ["python", "-m", "mlflow_model_operator.main"]
