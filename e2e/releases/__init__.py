"""Releases under load: a model that is released again and again, and the requests that it lost."""
