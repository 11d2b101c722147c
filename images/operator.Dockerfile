# The operator. Build from the repository's root.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/venv
COPY images/operator.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/requirements.lock \
 && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib \
 && rm -rf /opt/venv/lib/python3*/site-packages/pip
COPY operator/mlflow_model_operator /src/mlflow_model_operator
RUN cp -r /src/mlflow_model_operator /opt/venv/lib/python3*/site-packages/ \
 && /opt/venv/bin/python -m compileall -q /opt/venv/lib/python3*/site-packages/mlflow_model_operator

ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true MALLOC_ARENA_MAX=2 HOME=/tmp
USER 65532:65532
ENTRYPOINT ["python", "-m", "mlflow_model_operator.main"]
