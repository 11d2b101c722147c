"""Every version that the cluster is made of.

The versions of Go programs stand in `tools/*/go.mod` too, which pins what they are built from; a
unit test keeps the two in step.
"""

KUBERNETES = "v1.37.2"
ETCD = "v3.7.0"
COREDNS = "v1.14.6"
METRICS_SERVER = "v0.9.0"
HELM = "v4.3.1"
KWOK = "v0.8.0"
KIND = "v0.33.0"
CNI_PLUGINS = "v1.9.1"
CONTAINERD = "v2.2.1"
ENVOY_GATEWAY = "v1.9.1"
ENVOY = "1.40.0"
PAUSE = "v1"
ARGO_CD = "v3.2.12"  # no part of the cluster either, nor is kstatus: they judge our resources
KSTATUS = "v1.2.2"  # of Flux, and of this Helm
ACTIONLINT = "v1.7.12"  # no part of the cluster: it checks .github/workflows

DEBIAN = "bookworm"
PYTHON_SLIM_IMAGE = "python:3.11-slim"
