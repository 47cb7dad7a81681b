"""The tasks on pictures, a row each; importing this module registers them with seqio.

A task is a TFDS folder, the fields taken from it, a preprocessor (stage 1), stage 2, what its
metrics compare with, and the metrics. Folders are looked for when data are read.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import json
import os
from typing import Any

import seqio
import tensorflow as tf

from t5x import stream
from t5x.examples.unified_io import config, modality_processing
from t5x.examples.unified_io.data import data_utils, tokenized
from t5x.examples.unified_io.data import postprocessing as post
from t5x.examples.unified_io.data.preprocessing import (
  captioning,
  classification,
  generation,
  grounding,
  vqa,
)
from t5x.examples.unified_io.metrics import caption as caption_metrics
from t5x.examples.unified_io.metrics import refexp as refexp_metrics
from t5x.examples.unified_io.metrics import text as text_metrics
from t5x.examples.unified_io.metrics import vqa as vqa_metrics

KeyMap = Mapping[str, Sequence[str]]
COCO_CLASS_NAMES = 'metadata/coco/coco_class_name_2017.json'
_BUILD = 'python create_data/tfdatasets/{}/build.py'


def _tfds(name: str, script: str) -> stream.TfdsSource:
  return stream.TfdsSource(
    name,
    data_dir=lambda: config.MULTITASK_TFDS_DATA_DIR,
    build_command=_BUILD.format(script),
  )


COCO_ALL = _tfds('coco_all:1.0.1', 'coco_all')


def coco_class_names() -> list[str]:
  """The class names of `coco_all`: those that its build wrote beside it, else COCO's 80."""
  path = os.path.join(COCO_ALL.folder, 'class_names.json')
  if not tf.io.gfile.exists(path):
    return data_utils.load_class_names(COCO_CLASS_NAMES)
  with tf.io.gfile.GFile(path) as file:
    return json.load(file)


def add_task(
  name: str,
  source: seqio.DataSource,
  key_map: KeyMap | None,
  preprocessor: Callable[..., tf.data.Dataset],
  *,
  postprocess_fn: Callable[..., Any] | None = None,
  metric_fns: Sequence[Callable[..., Mapping[str, Any]]] = (),
  **options: Any,
) -> seqio.Task:
  """Registers a task.

  Args:
    name: of the task.
    source: its records.
    key_map: field of the preprocessor -> path to it in a record; None leaves records as they are.
    preprocessor: stage 1.
    postprocess_fn: what metrics compare with.
    metric_fns: functions (targets, predictions, aux_values).
    **options: of the preprocessor.
  """
  rekey = [] if key_map is None else [functools.partial(data_utils.rekey, key_map=key_map)]
  return seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=[
      *rekey,
      functools.partial(preprocessor, **options),
      modality_processing.unified_io_preprocessor,
    ],
    output_features=modality_processing.OUTPUT_FEATURES(),
    postprocess_fn=postprocess_fn,
    metric_fns=list(metric_fns),
  )


# ---- Referring expressions -----------------------------------------------------------------------
for _name, _dataset in (
  ('refcoco_unc', 'refcoco_unc'),
  ('refcocog_google', 'refcocog_google'),
  ('refcoco_plus_unc', 'refcocoplus_unc'),
):
  add_task(
    _name,
    _tfds(f'ref_coco/{_dataset}:1.0.0', 'refcoco'),
    {
      'image': ['image'],
      'bbox': ['objects', 'bbox'],
      'label': ['objects', 'refexp', 'raw'],
      'refexp_id': ['objects', 'refexp', 'refexp_id'],
    },
    grounding.refer_expression_preprocessor,
    dataset_name=_name,
    postprocess_fn=post.return_meta,
    metric_fns=[refexp_metrics.ref_exp_metric],
  )

# ---- Pictures and words of COCO ------------------------------------------------------------------
_CAPTIONS = {
  'image/filename': ['image/filename'],
  'image': ['image'],
  'captions': ['captions', 'text'],
}
_OBJECTS = {'image': ['image'], 'bbox': ['objects', 'bbox'], 'label': ['objects', 'label']}

add_task(
  'image_caption_coco_2017',
  COCO_ALL,
  _CAPTIONS,
  captioning.image_caption_preprocessor,
  dataset_name='image_caption_coco_2017',
  postprocess_fn=functools.partial(post.return_field, field='meta/all_references'),
  metric_fns=[caption_metrics.cider_metric, caption_metrics.bleu_metric],
)

add_task(
  'image_generation_coco_2017',
  COCO_ALL,
  _CAPTIONS,
  generation.image_generation_preprocessor,
  dataset_name='image_generation_coco_2017',
)

add_task(
  'image_inpainting_coco',
  COCO_ALL,
  _OBJECTS,
  generation.image_inpainting_preprocessor,
  dataset_name='image_inpainting_coco',
  class_names=coco_class_names,
)

add_task(
  'vqa_coco_2017',
  COCO_ALL,
  {
    'image': ['image'],
    'text_inputs': ['vqa', 'questions'],
    'text_targets': ['vqa', 'answers'],
    'id': ['vqa', 'id'],
  },
  vqa.vqa_preprocessor,
  postprocess_fn=functools.partial(post.return_field, field='meta/all_references'),
  metric_fns=[vqa_metrics.vqa_metric],
)

add_task(
  'box_classification_coco_2017',
  COCO_ALL,
  _OBJECTS,
  classification.box_classification_preprocessor,
  dataset_name='box_classification_coco_2017',
  class_names=coco_class_names,
  postprocess_fn=functools.partial(post.return_field, field='meta/label'),
  metric_fns=[text_metrics.exact_match],
)

# ---- Codes in place of target pixels, written by scripts/tokenize_dataset.py --------------------
for _name in ('image_generation_coco_2017', 'image_inpainting_coco'):
  tokenized.add_tokenized_task(_name)
