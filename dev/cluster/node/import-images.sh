#!/bin/sh
# Puts images into the node's containerd. They are unpacked when first used: nodes start from a copy of /var, and the
# less there is to copy, the sooner.
set -eu
containerd >/tmp/containerd.log 2>&1 &
containerd=$!
tries=0
until ctr version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 150 ] || { cat /tmp/containerd.log >&2; exit 1; }
  sleep 0.2
done
ctr --namespace k8s.io images import --no-unpack --digests "$1"
ctr --namespace k8s.io images list --quiet
kill "$containerd"
wait "$containerd" || true
rm -f /tmp/containerd.log
