"""How long a stopped run takes to its next batch, near the beginning of its data and far from it.

A file of questions and answers, a line each, is trained on in packed rows. The run stands at
example 10, or at a later one: the place in the data is a few numbers, which are moved on here as a
run that had come so far would have left them.
"""

import argparse
import copy
import json
import os
import tempfile
import time
from typing import Any

import measure

LINES = 2_000_000
NEAR, FAR = 10, 1_000_000
BATCH = 16


def write_lines(path: str, count: int) -> None:
  """Writes questions and answers."""
  with open(path, 'w', encoding='utf-8') as file:
    for i in range(count):
      row = {'question': f'What comes after {i}?', 'answer': 'something longer ' * (i % 7) + str(i)}
      file.write(json.dumps(row) + '\n')


def add_task(path: str) -> None:
  """Registers the lines as the task 'stream_resume'."""
  import seqio
  import tensorflow as tf

  from t5x import stream
  from t5x.examples.unified_io import modality_processing
  from t5x.examples.unified_io.data import data_utils

  def decode(line: tf.Tensor) -> dict[str, tf.Tensor]:
    parse = lambda line: [json.loads(line)[name].encode() for name in ('question', 'answer')]
    question, answer = tf.numpy_function(parse, [line], (tf.string, tf.string))
    return {'question': tf.ensure_shape(question, []), 'answer': tf.ensure_shape(answer, [])}

  @data_utils.map_example()
  def ask(example):
    question = tf.strings.join(['[Text] [S] ', example['question']])
    return {'text_inputs': question, 'text_targets': example['answer']}

  seqio.TaskRegistry.add(
    'stream_resume',
    source=stream.FileSource({'train': path}, decode),
    preprocessors=[ask, modality_processing.unified_io_preprocessor],
    output_features=modality_processing.OUTPUT_FEATURES(),
  )


def moved(state: dict[str, Any], by: int) -> dict[str, Any]:
  """The place `by` examples later."""
  state = copy.deepcopy(state)
  for shard in state['shards'].values():
    shard['mixed'] = [count + by for count in shard['mixed']]
    for place in shard['places']:
      place[0] += by
    shard['held']['taken'] += by
    for item in filter(None, shard['held']['pool'][0]):
      item['item'][1] += by
      item['item'][3] += by
  return state


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--lines', type=int, default=LINES, help='of the file')
  args = measure.arguments(__doc__, parser)
  measure.one_thread()
  far = 1000 if args.quick else FAR
  import gin

  from t5x import input_pipeline
  from t5x.examples.unified_io import packing

  gin.bind_parameter('get_input_modalities.input_modality', ['text'])
  gin.bind_parameter('get_target_modalities.target_modality', ['text'])
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'questions.jsonl')
    write_lines(path, 2000 if args.quick else args.lines)
    add_task(path)
    cfg = input_pipeline.DatasetConfig(
      'stream_resume', {'text_inputs': 32, 'text_targets': 64}, 'train', BATCH, seed=0,
      packing=packing.PackingStrategy(pack_max_len=(48, 80)),
    )  # fmt: skip
    batches = input_pipeline.open_train(cfg)
    next(batches)
    near, rows = batches.state(), []
    for example in (NEAR, far) * (1 if args.quick else 3):
      batches.restore(moved(near, example - NEAR))
      wall, cpu = time.monotonic(), time.process_time()
      next(batches)
      rows.append(
        {'example': example, 'CPU s': time.process_time() - cpu, 'wall s': time.monotonic() - wall}
      )
    size = len(json.dumps(batches.state()))
    batches.close()
  measure.report('Resuming a packed stream', rows, bytes_of_the_place=size)


if __name__ == '__main__':
  main()
