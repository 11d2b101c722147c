"""What people would write or pick instead: each server in a file, as its own docs show it."""
