"""Sound and video files in and out, and the raw fields of tasks made from them (no JAX)."""
