"""T5X framework: training, evaluation and inference of any model; knows nothing of a particular one."""
