module mlflow-model-operator.dev/cluster/pause

go 1.26.0
