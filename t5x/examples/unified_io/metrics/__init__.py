"""Scores of what a model said, as functions (targets, predictions, aux_values) -> {name: number}.

Targets are what a task's postprocessor gives, predictions have the model's text as `.text`. All are
deterministic.
"""
