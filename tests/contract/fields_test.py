"""docs/fields.md says what the code does, and every raw field in it is read."""

import pathlib
import re

import pytest
import tensorflow as tf

from t5x.examples.unified_io import modality_processing
from t5x.examples.unified_io.data import features
from t5x.examples.unified_io.scripts import fields_table

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'fields.md'
RAW = fields_table.example()


def test_the_page_is_up_to_date():
  made = fields_table.markdown()
  assert PAGE.read_text(encoding='utf-8') == made, (
    'python -m t5x.examples.unified_io.scripts.fields_table > docs/fields.md writes it anew'
  )


def test_every_field_of_every_spec_has_its_row():
  keys = [re.match('`(.*)`', row[3])[1] for row in fields_table.rows()]
  sides = (('inputs', features.input_specs()), ('targets', features.target_specs()))
  wanted = [
    f'{side}/{name}/{field}' for side, specs in sides for name, spec in specs.items()
    for field in spec.model
  ]  # fmt: skip
  assert keys == [*wanted, 'choices']
  assert all(row[-1] for row in fields_table.rows())


def test_every_field_after_stage_2_has_its_place():
  page = PAGE.read_text(encoding='utf-8')
  made = fields_table.measured()[1]
  assert [key for key in made if f'`{key}`' not in page] == []


def test_sizes_are_named_where_they_come_from():
  sizes = [*fields_table.LENGTHS.values(), fields_table.FRAMES, fields_table.OPTIONS]
  assert len(set(sizes)) == len(sizes)
  specs = [*features.input_specs().values(), *features.target_specs().values()]
  grids = [(spec.grid, spec.channels) for spec in specs if hasattr(spec, 'grid')]
  fixed = {n for grid, channels in grids for n in (grid.count, grid.height, grid.width, channels)}
  assert not fixed & set(fields_table.SIZES)
  assert fields_table.told(tf.zeros([61, 768])) == 'float32 [text_inputs, 768]'


@pytest.mark.parametrize('field', sorted(set(RAW) - {'use_text'}))
def test_every_raw_field_is_told_and_read(field):
  assert f'`{field}`' in PAGE.read_text(encoding='utf-8')
  read = set()

  class Watched(dict):
    def __getitem__(self, key):
      read.add(key)
      return super().__getitem__(key)

    def get(self, key, default=None):
      read.add(key)
      return super().get(key, default)

  seed = tf.zeros([2], tf.int32)
  made = modality_processing.make_features(Watched(RAW), fields_table.LENGTHS, seed)
  assert field in read | set(made)
