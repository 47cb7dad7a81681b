import json
import logging
import struct
import subprocess
import sys

from absl import logging as absl_logging
import pytest

from t5x import loggers


def events(path):
  """All events of a TensorBoard file."""
  from tensorboard.compat.proto import event_pb2

  data, found = path.read_bytes(), []
  while data:
    (size,) = struct.unpack('<Q', data[:8])
    found.append(event_pb2.Event.FromString(data[12 : 12 + size]))
    data = data[16 + size :]
  return found


def test_json_lines_hold_what_was_written_and_nan_becomes_null(tmp_path):
  logger = loggers.JsonLogger(str(tmp_path))
  logger.write('train', 3, {'loss': 1.5, 'text/loss': float('nan')})
  logger.write('training_eval/vqa', 4, {'loss': 2})
  logger.close()
  rows = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert [(r['collection'], r['step']) for r in rows] == [('train', 3), ('training_eval/vqa', 4)]
  assert rows[0]['values'] == {'loss': 1.5, 'text/loss': None}


def test_json_lines_of_a_resumed_run_follow_those_before(tmp_path):
  for step in (1, 2):
    logger = loggers.JsonLogger(str(tmp_path))
    logger.write('train', step, {'loss': 0})
    logger.close()
  assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 2


def test_tensorboard_gets_a_folder_a_collection_and_no_metric_is_lost(tmp_path):
  logger = loggers.TensorBoardLogger(str(tmp_path))
  logger.write('train', 7, {'loss': 1.5, 'image/loss': 0.25})
  logger.write('training_eval/vqa', 7, {'loss': 2.0})
  logger.close()
  (file,) = (tmp_path / 'train').iterdir()
  version, event = events(file)
  assert version.file_version == 'brain.Event:2'
  assert event.step == 7
  values = {v.tag: v.simple_value for v in event.summary.value}
  assert values == {'loss': 1.5, 'image/loss': 0.25}
  assert len(list((tmp_path / 'training_eval' / 'vqa').iterdir())) == 1


@pytest.mark.parametrize(
  ('path', 'key'),
  [
    ('train/loss', 'train/loss'),
    ('training_eval/refcoco_unc/text/accuracy', 'training_eval/refcoco_unc/text--accuracy'),
    ('inference/vqa/a/b/c', 'inference/vqa/a--b--c'),
  ],
)
def test_wandb_keys_have_two_slashes_at_most(path, key):
  assert loggers.WandbLogger.key(path) == key


def test_the_console_gets_one_line(caplog, monkeypatch):
  monkeypatch.setattr(absl_logging.get_absl_logger(), 'propagate', True)
  caplog.set_level(logging.INFO, logger='absl')
  loggers.ConsoleLogger().write('train', 20, {'loss': 1.23456, 'accuracy': 0.5})
  assert [r.getMessage() for r in caplog.records] == ['step 20 train: accuracy=0.5, loss=1.235']


def test_several_loggers_are_one(tmp_path):
  class Fake(loggers.Logger):
    def __init__(self):
      self.said = []

    def write(self, collection, step, values):
      self.said.append((collection, step, values))

    def close(self):
      self.said.append('closed')

  fakes = [Fake(), Fake()]
  with loggers.Loggers(fakes) as both:
    both.write('train', 1, {'loss': 2})
  assert [f.said for f in fakes] == [[('train', 1, {'loss': 2}), 'closed']] * 2


def test_the_usual_loggers_load_neither_tensorflow_nor_wandb(tmp_path):
  code = (
    'import sys; from t5x import loggers\n'
    f'with loggers.default_loggers({str(tmp_path)!r}) as all: all.write("train", 1, dict(loss=1))\n'
    'assert not {"tensorflow", "wandb"} & set(sys.modules)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)
