"""Models built on the framework."""
