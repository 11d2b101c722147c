# MLflow's tracking server, for the demo and the tests. Build from the repository's root.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/venv
COPY images/mlflow.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/requirements.lock \
 && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true HOME=/tmp
USER 65532:65532
EXPOSE 5000
ENTRYPOINT ["mlflow"]
CMD ["server"]
