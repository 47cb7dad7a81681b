import dataclasses

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf

from t5x.examples.unified_io import modality_processing as mp
from t5x.examples.unified_io import modality_specs as specs
from t5x.examples.unified_io.data import features

LENGTHS = {'text_inputs': 6, 'text_targets': 5, 'image_input_samples': None}


@pytest.fixture(autouse=True)
def clean_gin():
  yield
  gin.clear_config()


def bind(inputs=('text', 'image'), targets=('text',), size=(32, 48)):
  gin.bind_parameter('get_input_modalities.input_modality', inputs)
  gin.bind_parameter('get_target_modalities.target_modality', targets)
  gin.bind_parameter('image_sizes.input', size)


def raw_example(**fields):
  return {
    'text_inputs': tf.constant([7, 8]),
    'text_targets': tf.constant([9]),
    'image_inputs': tf.ones([32, 48, 3]),
    'image_input_masks': tf.ones([32, 48], tf.int32),
    **fields,
  }


def stage2(**fields):
  dataset = tf.data.Dataset.from_tensors(raw_example(**fields))
  return mp.unified_io_preprocessor(dataset, sequence_length=LENGTHS)


def test_all_modalities_are_on_in_order_by_default():
  assert tuple(mp.get_input_modalities()) == specs.INPUT_ORDER
  assert tuple(mp.get_target_modalities()) == specs.TARGET_ORDER


def test_the_order_is_that_of_the_encoder_not_of_the_choice():
  chosen = mp.get_input_modalities(['audio', 'image', 'text'])
  assert list(chosen) == ['text', 'image', 'audio']
  with pytest.raises(ValueError, match=r"'txt'; did you mean one of .'text'"):
    mp.get_input_modalities(['txt'])


def test_one_binding_sets_the_size_of_images():
  bind(size=(32, 48))
  grid = mp.get_input_modalities()['image'].grid
  assert (grid.rows, grid.cols) == (2, 3)


def test_switches_reach_their_spec():
  chosen = mp.get_input_modalities(use_image_vit=False, max_img_history=2.5, image_patch=32)
  assert not chosen['image'].use_vit
  assert chosen['audio'].use_vit
  assert chosen['image_history'].max_per_example == 2.5
  assert chosen['image'].grid.patch == 32


def test_codes_are_asked_for_by_name_and_stand_in_place_of_pixels():
  pixels, codes = mp.get_target_modalities(), mp.get_target_modalities(use_codes='image')
  assert 'image' in pixels['image'].model
  assert 'tokens' not in pixels['image'].model
  assert codes['image'].model['tokens'] == specs.Feature(dtype='int32', rank=1, sizes=(1024,))
  assert codes['audio'].model == pixels['audio'].model
  assert mp.get_target_modalities(use_codes=['audio'])['audio'].model['tokens'].sizes == (512,)
  with pytest.raises(ValueError, match=r"names 'text'; the targets with codes here are \['image'"):
    mp.get_target_modalities(use_codes=['text'])


def test_a_batch_has_codes_or_pixels_as_the_choice_says():
  bind(targets=('image',))
  gin.bind_parameter('image_sizes.target', (16, 24))
  gin.bind_parameter('get_target_modalities.use_codes', ('image',))
  example = raw_example(image_target_tokens=tf.range(6))
  batch = mp.UnifiedIOFeatureConverter().convert(
    mp.make_features(example, LENGTHS, tf.zeros([2], tf.int32)), LENGTHS
  )
  assert batch['targets/image/tokens'].numpy().tolist() == list(range(6))
  assert 'targets/image/image' not in batch


def test_every_feature_is_registered_once_and_required_by_nobody():
  declared = mp.OUTPUT_FEATURES()
  assert not any(feature.required for feature in declared.values())
  assert declared['inputs/image/input'].rank == 2
  assert declared['targets/image/image'].dtype == tf.float32
  assert declared['targets/image/tokens'].rank == 1
  assert declared['inputs/text/tokens'].vocabulary.vocab_size == 4096
  assert isinstance(declared['inputs/image/mask'], seqio.ContinuousFeature)


def test_the_choice_is_read_when_a_dataset_is_built():
  bind()
  assert {k.split('/')[1] for k in stage2().element_spec} == {'text', 'image'}
  bind(inputs=('text',))
  assert {k for k in stage2().element_spec if k.startswith('inputs/')} == {'inputs/text/tokens'}


def test_metadata_options_and_the_streams_fields_are_passed_on():
  bind()
  nested = {'id': tf.constant(3), 'box': {'x': tf.constant(4)}}
  fields = {'meta': nested, 'meta/name': tf.constant('n'), 'stream/position': tf.constant(5)}
  made = next(stage2(**fields, other=tf.constant(6)).as_numpy_iterator())
  kept = {k: v for k, v in made.items() if not k.startswith(('inputs/', 'targets/'))}
  assert kept == {'meta/id': 3, 'meta/box/x': 4, 'meta/name': b'n', 'stream/position': 5}


def test_a_batch_has_the_fields_of_the_specs_in_fixed_shapes():
  bind(targets=('text', 'image'))
  converted = mp.UnifiedIOFeatureConverter()(stage2(), LENGTHS)
  sides = {'inputs': mp.get_input_modalities(), 'targets': mp.get_target_modalities()}
  wanted = {
    f'{side}/{name}/{field}': (feature.dtype, feature.rank)
    for side, chosen in sides.items()
    for name, spec in chosen.items()
    for field, feature in spec.model.items()
  }
  got = {k: (spec.dtype.name, spec.shape.rank) for k, spec in converted.element_spec.items()}
  assert got == wanted
  assert all(spec.shape.is_fully_defined() for spec in converted.element_spec.values())


def test_converting_drops_metadata_and_makes_ids_of_options():
  bind()
  options = tf.ragged.constant([[7], [8, 9]])
  example = next(iter(stage2(choices=options, **{'meta/id': tf.constant(1)})))
  made = mp.UnifiedIOFeatureConverter().convert(example, LENGTHS)
  assert made['choices'].numpy().tolist() == [[7, 1, 0, 0, 0], [8, 9, 1, 0, 0]]
  assert not any(name.startswith('meta/') for name in made)


def test_the_converter_refuses_to_pack():
  with pytest.raises(ValueError, match='bind PackingStrategy'):
    mp.UnifiedIOFeatureConverter(pack=True)


def test_the_spec_of_a_batch_is_known_without_data():
  bind()
  spec = mp.get_input_spec(batch_size=2, seq_lens=LENGTHS)
  assert spec['inputs/image/input'] == ((2, 6, 768), np.float32)
  assert spec['targets/text/targets'] == ((2, 5), np.int32)
  assert mp.get_input_spec()['inputs/image/input'] == ((1, 1, 768), np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberSpec(specs.ModalitySpec):
  name: str = 'number'

  @property
  def stage2(self):
    return {'value': specs.Feature(dtype='float32', rank=0)}

  model = stage2


class NumberInput:
  def __init__(self, spec):
    del spec

  def preprocess(self, example, lengths, seed):
    del lengths, seed
    return {'value': example['number']}

  def convert(self, fields, lengths):
    del lengths
    return {'value': fields['value'] * 2}


def test_a_modality_of_another_project_needs_no_change_here(monkeypatch):
  monkeypatch.setattr(features, '_INPUTS', dict(features._INPUTS))
  features.register_input('number', NumberSpec, NumberInput)
  bind(inputs=('text', 'number'))
  with pytest.raises(ValueError, match="modality 'text' exists already"):
    features.register_input('text', NumberSpec, NumberInput)
  assert mp.OUTPUT_FEATURES()['inputs/number/value'].rank == 0
  batch = mp.UnifiedIOFeatureConverter()(stage2(number=tf.constant(1.5)), LENGTHS)
  assert float(next(iter(batch))['inputs/number/value']) == 3.0
