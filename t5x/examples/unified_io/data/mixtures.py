"""Mixtures of tasks; importing this module registers all tasks and mixtures with seqio."""

import seqio

from t5x.examples.unified_io.data import (  # noqa: F401  each registers its own
  jsonl_task,
  nlp_tasks,
  tasks,
  text_adapter,
)

seqio.MixtureRegistry.add(
  'refexp', [('refcoco_unc', 1.0), ('refcocog_google', 1.0), ('refcoco_plus_unc', 1.0)]
)

seqio.MixtureRegistry.add(
  'flan2',
  [
    ('flan2_flan2021', 0.4),
    ('flan2_t0', 0.32),
    ('flan2_niv2', 0.2),
    ('flan2_cot', 0.05),
    ('flan2_dialog', 0.03),
  ],
)

# What the quickstart learns; only tasks whose data its drawn world has.
seqio.MixtureRegistry.add(
  'quickstart',
  [
    ('refcoco_unc', 0.32),
    ('vqa_coco_2017', 0.22),
    ('box_classification_coco_2017', 0.28),
    ('image_caption_coco_2017', 0.18),
  ],
)
