"""The released formats and ours."""
