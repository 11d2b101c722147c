"""The custom resource: its schema, its defaults, its rules, and how its values are parsed."""
