"""Stage 1: an example of a dataset -> texts, pictures and metadata, in the words of a prompt."""
