"""What runs in a model's pods: fetches the model, installs what it needs, and serves it."""
