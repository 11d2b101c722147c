"""How the operator fares with 1,000 resources on a real control plane."""
