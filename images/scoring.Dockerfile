# The scoring image: prepares and serves a model. Build from the repository's root.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/venv
COPY images/scoring.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/requirements.lock
# Packages' own test suites are a fifth of the image, and no model imports them.
RUN find /opt/venv/lib -type d -name tests -prune \
      \( -path '*/sklearn/*' -o -path '*/pandas/*' -o -path '*/scipy/*' -o -path '*/numpy/*' \) \
      -exec rm -rf {} +
COPY scoring/mlflow_model_server /src/mlflow_model_server
RUN cp -r /src/mlflow_model_server /opt/venv/lib/python3*/site-packages/ \
 && printf '#!/opt/venv/bin/python\nfrom mlflow_model_server.cli import main\nmain()\n' \
      > /opt/venv/bin/mlflow-model-server \
 && chmod +x /opt/venv/bin/mlflow-model-server \
 && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true HOME=/tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["mlflow-model-server"]
CMD ["run"]
