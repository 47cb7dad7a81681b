"""Programs beside the entry points: the quickstart, viewers, converters."""
