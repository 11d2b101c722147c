"""Fetches the model and installs what it needs: what the init container does."""
