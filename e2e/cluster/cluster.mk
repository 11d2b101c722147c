# The kind cluster. Included by the Makefile at the top.

CLUSTER_TOOL = python3 -m e2e.cluster

.PHONY: cluster cluster-down cluster-clean cluster-status

## cluster: bring the kind cluster up (NODES=2, CLUSTER=current, GATEWAY_PORT, MLFLOW_PORT)
cluster:
	@$(CLUSTER_TOOL) up

## cluster-down: remove the cluster, keep the engine and all builds
cluster-down:
	@$(CLUSTER_TOOL) down

## cluster-clean: stop and remove all that was started, keep the builds
cluster-clean:
	@$(CLUSTER_TOOL) clean

## cluster-status: say whether the cluster is up
cluster-status:
	@$(CLUSTER_TOOL) status
