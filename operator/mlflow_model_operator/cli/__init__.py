"""`kubectl mmd`: looks at rollouts, controls them, and shows offline what a resource becomes.

It is a plugin of kubectl, and talks to the cluster through kubectl: with its contexts, its
credentials and its flags. But for `plan` it needs the standard library alone, to start at once.
"""
