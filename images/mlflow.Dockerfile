# MLflow's tracking server, for the demo and the tests. Build from the repository's root.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
# Where packages come from, if not from PyPI.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
COPY images/build.lock /tmp/build.lock
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/build.lock
COPY images/mlflow.lock /tmp/requirements.lock
# For training only, and more than half of all: a tracking server imports none of these.
ENV TRAINING="contourpy fonttools kiwisolver matplotlib pillow pyarrow scikit-learn scipy"
RUN python3 -m venv --without-pip /opt/venv \
 && /opt/build/bin/uv pip install --quiet --no-cache --python /opt/venv/bin/python \
      --no-deps --require-hashes -r /tmp/requirements.lock \
 && /opt/build/bin/uv pip uninstall --quiet --python /opt/venv/bin/python $TRAINING \
 && cd /opt/venv/lib/python3*/site-packages \
 && find numpy pandas -type d -name tests -prune -exec rm -rf {} + \
 && /opt/venv/bin/python -m compileall -q -j 0 .
# A bill of materials of the Python packages, for scanners.
ARG VERSION=0
RUN printf '[project]\nname = "mlflow-tracking-server"\nversion = "%s"\nlicense = "Apache-2.0"\n' "$VERSION" \
      > /tmp/pyproject.toml \
 && /opt/build/bin/cyclonedx-py environment --no-validate --output-reproducible \
      --pyproject /tmp/pyproject.toml --output-file /opt/sbom.cdx.json /opt/venv/bin/python

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="mlflow-tracking-server" \
      org.opencontainers.image.description="MLflow's tracking server, for the demo and the tests" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/sbom.cdx.json /usr/local/share/sbom/mlflow.cdx.json
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true GIT_PYTHON_REFRESH=quiet HOME=/tmp
USER 65532:65532
EXPOSE 5000
ENTRYPOINT ["mlflow"]
CMD ["server"]
