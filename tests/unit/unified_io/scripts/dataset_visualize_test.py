"""The pages of the visualiser: from the command line to what stands in them."""

import base64
import io
import re

import gin
import numpy as np
from PIL import Image
import pytest
import seqio
import tensorflow as tf

from t5x import input_pipeline, task_examples
from t5x.examples.unified_io import config, modality_processing, modality_specs
from t5x.examples.unified_io.data import regions
from t5x.examples.unified_io.scripts import dataset_cells, dataset_page, dataset_visualize
from tests.testdata import tiny_world

# seqio advises against sources in memory; TFDS asks protobuf in an outdated way.
pytestmark = [
  pytest.mark.filterwarnings('ignore:Using an uncached FunctionDataset'),
  pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning'),
]

SIZES = modality_specs.PatchGrid(height=8, width=8, patch=4)
LENGTHS = {
  'text_inputs': 24, 'text_targets': 16, 'image_input_samples': None,
  'image_history_input_samples': 4, 'audio_input_samples': 128,
  'audio_history_input_samples': 128, 'num_frames': 2,
}  # fmt: skip
SMALL = (
  '--gin.image_sizes.input=(8,8)', '--gin.image_sizes.history=(8,8)',
  '--gin.image_sizes.target=(8,8)', '--gin.get_input_modalities.image_patch=4',
  '--gin.get_target_modalities.image_patch=4', f'--gin.visualize.lengths={LENGTHS}',
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_gin(monkeypatch):
  """No binding, and no folder of data, is left for the next test."""
  yield
  gin.clear_config()
  seqio.set_tfds_data_dir_override(None)


def add_task(name, examples):
  """Registers a task on raw fields; `examples` makes its dataset."""
  source = seqio.FunctionDataSource(
    lambda split, shuffle_files, seed=None: examples(), splits=['train']
  )
  return seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=[modality_processing.unified_io_preprocessor],
    output_features=modality_processing.OUTPUT_FEATURES(),
  )


def raw_example():
  rng = np.random.default_rng(0)
  pixels = rng.random((8, 8, 3)).astype('f4')
  mask = np.ones((8, 8), np.int32)
  mask[:4, :4] = 0
  log_mel = rng.normal(size=(256, 128, 1)).astype('f4')
  box = regions.regions_to_str(tf.constant([[0.0, 4.0, 8.0, 8.0]]), image_size=8)
  return {
    'text_inputs': tf.strings.join(['[Text] [S] <b>what</b> is at ', box, ' ?']),
    'text_targets': tf.constant(['a cat', 'a cat', 'cats']),
    'image_inputs': pixels, 'image_input_masks': mask,
    'image_history_inputs': pixels[None], 'image_history_input_masks': mask[None],
    'audio_inputs': log_mel, 'audio_input_masks': np.ones((256, 128), np.int32),
    'image_targets': pixels, 'image_target_masks': mask,
    'audio_targets': log_mel, 'audio_target_masks': np.ones((256, 128), np.int32),
    'audio_target_task_masks': np.eye(256, 128, dtype=np.int32),
    'choices': tf.constant(['a cat', 'a dog']),
    'meta/name': 'Tom & Jerry', 'meta/boxes': np.ones((1, 4), 'f4'),
  }  # fmt: skip


@pytest.fixture(scope='module')
def everything():
  """A task with one example of every modality but the history of sound."""
  yield add_task('everything', lambda: tf.data.Dataset.from_tensors(raw_example()))
  seqio.TaskRegistry.remove('everything')


def cells_of(task, *bindings, **options):
  """The cells of the task's only example, in pictures of 8 pixels and 2 x 2 patches."""
  with gin.unlock_config():
    gin.parse_config([*(option.removeprefix('--gin.') for option in SMALL[:5]), *bindings])
  (example,) = dataset_visualize.read(
    task, 'train', {**LENGTHS, 'is_training': True}, shuffle=False, num_examples=5
  )
  made = dataset_cells.cells_of(*example, **options)
  gin.clear_config()
  return made


@pytest.fixture(scope='module')
def cells(everything):
  return cells_of(everything)


def pictures_of(cell):
  """The pictures that are embedded in a cell."""
  return [
    np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))
    for data in re.findall(r'<img src="data:image/\w+;base64,([^"]*)"', cell)
  ]


# ---- Cells ---------------------------------------------------------------------------------------
def test_every_modality_that_is_there_has_its_cells(cells):
  assert list(cells) == [
    'example', 'inputs/text', 'inputs/image', 'inputs/image/mask', 'inputs/image_history',
    'inputs/image_history/mask', 'inputs/audio', 'inputs/audio/mask', 'targets/text',
    'targets/image', 'targets/image/mask', 'targets/image/loss_mask', 'targets/image/task_mask',
    'targets/audio', 'targets/audio/mask', 'targets/audio/loss_mask', 'targets/audio/task_mask',
    'choices',
  ]  # fmt: skip


def test_modalities_that_are_off_and_masks_that_are_not_wanted_are_not_shown(everything):
  only_text = "get_input_modalities.input_modality = ['text']"
  cells = cells_of(everything, only_text, masks=False)
  assert list(cells) == [
    'example', 'inputs/text', 'targets/text', 'targets/image', 'targets/audio', 'choices',
  ]  # fmt: skip


def test_text_is_escaped_and_locations_are_set_apart(cells):
  assert '&lt;b&gt;what&lt;/b&gt; is at' in cells['inputs/text']
  assert '<span class="asked">&lt;extra_id_200&gt;' in cells['inputs/text']
  assert 'Tom &amp; Jerry' in cells['example']


def test_answers_stand_one_by_one_and_equal_ones_are_counted(cells):
  cell = cells['targets/text']
  assert cell.startswith('<p>a cat × 2</p><p>cats</p>')
  assert 'tokens with a loss' in cell


def test_the_input_picture_shows_what_is_seen_and_the_boxes_of_the_text(cells):
  (picture,) = pictures_of(cells['inputs/image'])
  assert picture.shape == (192, 192, 3)
  want = np.rint(raw_example()['image_inputs'] * 255)
  want[:4, :4] = 0  # masked
  np.testing.assert_array_equal(picture[12::24, 12::24], want)
  # The left edge of the box, which is read a thousandth off the place where it was written.
  assert picture[10, 94:97].tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 255]]


def test_masks_are_magenta(cells):
  for column in ('inputs/image/mask', 'inputs/image_history/mask', 'targets/image/mask'):
    (picture,) = pictures_of(cells[column])
    is_magenta = (picture == [255, 0, 255]).all(-1)
    assert is_magenta[:96, :96].all()
    assert is_magenta.mean() == 0.25


def test_a_target_shows_all_of_its_pixels(cells):
  (picture,) = pictures_of(cells['targets/image'])
  want = np.rint(raw_example()['image_targets'] * 255)
  np.testing.assert_allclose(picture[12::24, 12::24], want, atol=1)


def test_masks_without_anything_masked_are_words(cells):
  assert cells['inputs/audio/mask'] == '<small>0 patches masked, 0 left out</small>'
  assert cells['targets/audio/loss_mask'] == '<small>as mask</small>'
  assert cells['targets/image/task_mask'] == '<small>0 masked</small>'
  assert pictures_of(cells['targets/audio/task_mask'])


def test_an_empty_history_has_no_cell_and_a_short_one_tells_its_frames(cells):
  assert 'inputs/audio_history' not in cells
  assert 'frames 1 of 2' in cells['inputs/image_history']


def test_a_modality_of_somebody_else_is_told_in_numbers():
  spec = modality_specs.ModalitySpec(name='smell')
  cell = dataset_cells._other(spec, {'input': np.arange(3.0)}, '', [])
  assert cell == {'': '<small>input: float64 [3] from 0 to 2</small>'}


# ---- Pages ---------------------------------------------------------------------------------------
def test_columns_stand_in_order_of_first_use_and_errors_take_a_row():
  rows = [
    dataset_page.Row(number=0, cells={'b': '<i>1</i>'}),
    dataset_page.Row(number=1, cells={'a': '2', 'b': '3'}),
    dataset_page.Row(number=2, error='<bad>'),
  ]
  page = dataset_page.page('task', 'lead', {'x': '</script>&'}, rows)
  assert re.findall('<th>(.*?)</th>', page) == ['#', 'b', 'a']
  assert '<td><i>1</i></td><td></td>' in page
  assert '<td colspan="2">&lt;bad&gt;</td>' in page
  assert '&lt;/script&gt;&amp;' in page
  assert page.count('</script>') == 1


def test_the_index_lists_all_pages_of_the_folder(tmp_path):
  for name in ('one', 'two'):
    rows = [dataset_page.Row(number=0, cells={'a': 'x'}), dataset_page.Row(number=1, error='y')]
    (tmp_path / f'{name}.html').write_text(dataset_page.page(name, '', {'split': 'train'}, rows))
  (tmp_path / 'other.html').write_text('not ours')
  index = dataset_page.write_index(tmp_path).read_text()
  assert re.findall('href="(.*?)"', index) == ['one.html', 'two.html']
  assert '1 examples, 1 bad' in index


# ---- The command ---------------------------------------------------------------------------------
def call(*args):
  """Runs the command in this process."""
  gin.clear_config()
  dataset_visualize.main([*map(str, args)])


def test_pages_and_index_are_made_and_kept_unless_overridden(everything, tmp_path, capsys):
  out = tmp_path / 'made' / 'here'
  call('everything', out, *SMALL)
  page = out / 'everything.html'
  assert 'everything.html' in (out / 'index.html').read_text()
  first = page.read_text()
  assert 'prompts.json (12 families)' in first
  page.write_text('mine')
  call('everything', out, *SMALL)
  assert page.read_text() == 'mine'
  assert '--override writes it anew' in capsys.readouterr().out
  call('everything', out, '--override', '--nomasks', '--postfix=_2', *SMALL)
  assert 'inputs/image/mask' not in (out / 'everything_2.html').read_text()
  call('everything', out, '--override', *SMALL)
  assert page.read_text() == first


def test_a_bad_example_is_shown_as_such_and_the_others_stay(tmp_path):
  whole = tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()

  def examples():
    ds = tf.data.Dataset.from_tensor_slices([whole, whole[:40], whole])
    return ds.map(
      lambda data: {
        'text_inputs': 'x',
        'image_inputs': tf.image.convert_image_dtype(tf.io.decode_png(data, 3), tf.float32),
        'image_input_masks': tf.ones([8, 8], tf.int32),
      }
    )

  add_task('broken', examples)
  call('broken', tmp_path, *SMALL)
  seqio.TaskRegistry.remove('broken')
  page = (tmp_path / 'broken.html').read_text()
  assert page.count('<tr><td class="number">') == 2
  assert re.search(
    r'<tr class="bad"><td class="number">1</td><td[^>]*>BadRecordError: a record', page
  )
  assert '2 examples, 1 bad' in (tmp_path / 'index.html').read_text()


def test_an_example_that_cannot_be_drawn_does_not_end_the_page(monkeypatch):
  monkeypatch.setattr(dataset_cells, 'cells_of', lambda *args, **kwargs: 1 / 0)
  row = dataset_visualize.row_of(3, ({}, {}), masks=True)
  assert row.error == 'ZeroDivisionError: division by zero'


@pytest.mark.parametrize(
  ('args', 'words'),
  [
    (['everythin'], "did you mean one of ['everything'"),
    (['everything', '--split=test'], 'everything has no split test. It has train.'),
    (['refcoco_unc', '--tfds_data_dir=/nowhere'], 'create_data/tfdatasets/refcoco/build.py'),
    (['everything', '--gin.no_such.thing=1'], 'There is no configurable no_such'),
  ],
)
def test_what_is_impossible_ends_with_one_sentence(args, words, everything, tmp_path, capsys):
  with pytest.raises(SystemExit) as ended:
    call(args[0], tmp_path / 'out', *args[1:])
  assert ended.value.code == 2
  assert words in capsys.readouterr().err


def test_lengths_of_a_run_are_those_of_its_gin_file(tmp_path):
  run = 't5x/examples/unified_io/t5_1_1/finetune/refexp.gin'
  dataset_visualize.gin_utils.parse([run], whole_run=False)
  lengths = dataset_visualize.sequence_lengths(True)
  assert (lengths['text_inputs'], lengths['image_input_samples']) == (256, 1.0)
  assert dataset_visualize.sequence_lengths(False)['image_input_samples'] is None
  gin.clear_config()
  assert dataset_visualize.sequence_lengths(True)['image_input_samples'] == 576


@pytest.mark.parametrize('training', [True, False])
def test_what_is_shown_is_what_training_and_evaluation_read(training, tmp_path, monkeypatch):
  monkeypatch.setattr(config, 'MULTITASK_TFDS_DATA_DIR', str(tiny_world.build(tmp_path)))
  with gin.unlock_config():
    gin.parse_config(
      "get_input_modalities.input_modality = ['text', 'image']\n"
      "get_target_modalities.target_modality = ['text']"
    )
  lengths = {'text_inputs': 24, 'text_targets': 24, 'image_input_samples': 300}
  lengths['is_training'] = training
  cfg = input_pipeline.DatasetConfig(
    'refcoco_unc', lengths, 'train', batch_size=4, shuffle=False, seed=dataset_visualize.SEED
  )
  if training:
    batches = input_pipeline.open_train(cfg)
    batch = next(batches)
    batches.close()
  else:
    batch, _ = next(iter(input_pipeline.open_eval(cfg)))
  task = task_examples.get_mixture_or_task('refcoco_unc')
  shown = dataset_visualize.read(task, 'train', lengths, shuffle=False, num_examples=4)
  for i, (fields, _) in enumerate(shown):
    assert set(fields) == set(batch)
    for name, value in fields.items():
      np.testing.assert_array_equal(value, batch[name][i], err_msg=name)
