"""T5X framework: training, evaluation and inference; knows nothing of a particular model."""
