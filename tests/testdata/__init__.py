"""Small data that tests make for themselves, so that no binary file has to be kept in step."""
