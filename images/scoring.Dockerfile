# The scoring image: prepares and serves a model. Build from the repository's root.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
# Where packages come from, if not from PyPI.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
COPY images/build.lock /tmp/build.lock
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/build.lock
COPY images/scoring.lock /tmp/requirements.lock
# Packages' own test suites and MLflow's web page are an eighth of the image, and no model needs them.
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/uv pip install --quiet --no-cache --python /opt/venv/bin/python \
      --no-deps --require-hashes -r /tmp/requirements.lock \
 && cd /opt/venv/lib/python3*/site-packages \
 && find matplotlib numpy pandas pyarrow scipy sklearn -type d -name tests -prune -exec rm -rf {} + \
 && rm -rf mlflow/server/js \
 && /opt/venv/bin/python -m compileall -q -j 0 . \
 && echo /opt/mlflow-model-server > mlflow-model-server.pth
COPY images/mlflow-model-server /opt/venv/bin/mlflow-model-server
# A bill of materials of the Python packages, for scanners.
ARG VERSION=0
RUN printf '[project]\nname = "mlflow-model-server"\nversion = "%s"\nlicense = "Apache-2.0"\n' "$VERSION" \
      > /tmp/pyproject.toml \
 && /opt/build/bin/cyclonedx-py environment --no-validate --output-reproducible \
      --pyproject /tmp/pyproject.toml --output-file /opt/sbom.cdx.json /opt/venv/bin/python
COPY scoring/mlflow_model_server /opt/mlflow-model-server/mlflow_model_server
RUN /opt/venv/bin/python -m compileall -q /opt/mlflow-model-server

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="mlflow-model-server" \
      org.opencontainers.image.description="Prepares and serves an MLflow model" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/sbom.cdx.json /usr/local/share/sbom/scoring.cdx.json
COPY --from=build /opt/mlflow-model-server /opt/mlflow-model-server
# A user with a name, for code that asks for it; USER says it where the pod sets another number.
RUN grep -q '^[^:]*:[^:]*:65532:' /etc/passwd \
 || echo 'scoring:x:65532:65532:scoring:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && grep -q '^[^:]*:[^:]*:65532:' /etc/group || echo 'scoring:x:65532:' >> /etc/group
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true GIT_PYTHON_REFRESH=quiet USER=scoring HOME=/tmp
# It can be written, even where the root file system can't.
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["mlflow-model-server"]
CMD ["run"]
