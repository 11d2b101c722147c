"""The model: loading it, and calling it in the quickest way that answers alike."""
