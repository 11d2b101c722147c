"""The custom resource: its shape, its defaults, its rules, and what its values mean."""
