"""An MLflow server in the cluster: a SQL store, and artifacts behind the server."""
