"""Runs the commands of the documentation's pages, as a reader would."""
