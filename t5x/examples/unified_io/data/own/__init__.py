"""A user's own data file: its rows, its pictures and sounds, its index, and what is wrong in it."""
