"""From a checkpoint to answers, pictures and sound."""
