# The kind cluster. Included by the Makefile at the top.

CLUSTER_TOOL = python3 -m dev.cluster

.PHONY: cluster cluster-down cluster-clean cluster-status tools

# What the integration tests and the scale benchmark run as plain processes.
HOST_TOOLS = etcd kube-apiserver kube-controller-manager kubectl helm kwok gitops-health

cluster: ## Bring up the kind cluster (NODES=2, NODE_IMAGE=kindest/node:…, CLUSTER=current, GATEWAY_PORT=…, MLFLOW_PORT=…)
	@$(CLUSTER_TOOL) up

cluster-down: ## Remove the cluster, but keep the engine and all builds
	@$(CLUSTER_TOOL) down

cluster-clean: ## Stop and remove everything that was started, but keep the builds
	@$(CLUSTER_TOOL) clean

cluster-status: ## Show whether the cluster is up
	@$(CLUSTER_TOOL) status

tools: ## Build the host tools: kube-apiserver, etcd, kubectl, helm, kwok, gitops-health
	@$(CLUSTER_TOOL) tools $(HOST_TOOLS) > /dev/null
