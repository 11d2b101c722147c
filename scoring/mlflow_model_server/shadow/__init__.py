"""Copies of real requests to another version: sent, measured, compared, and never waited for."""
