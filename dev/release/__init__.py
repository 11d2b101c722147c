"""The steps of a release, each a command that the workflow runs, and that runs anywhere else."""
