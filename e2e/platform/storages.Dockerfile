# Object stores for the tests, which answer the real protocols from memory: moto for S3, and gcp-storage-emulator for
# Google Cloud Storage.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
RUN python3 -m venv /opt/venv
COPY storages.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --no-deps --require-hashes -r /tmp/requirements.lock
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
