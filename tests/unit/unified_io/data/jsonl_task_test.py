"""A user's own data, from files to batches: what is asked, split, mixed, left out and refused."""

import json
import logging

import gin
import numpy as np
from PIL import Image
import pytest
import seqio
import tensorflow as tf

from t5x import input_pipeline, task_examples
from t5x.bindings import UserError
from t5x.examples.unified_io.data import jsonl_task, prompt_dict, vocabulary
from t5x.examples.unified_io.data.own import files
from t5x.examples.unified_io.media import video
from tests.unit.unified_io.media import files as media_files

LENGTHS = {
  'text_inputs': 48, 'text_targets': 16, 'image_input_samples': None, 'audio_input_samples': None,
  'num_frames': 4,
}  # fmt: skip
BOX = '<extra_id_200> <extra_id_200> <extra_id_699> <extra_id_1199>'  # top half of a square


@pytest.fixture(autouse=True)
def text_alone_and_own_cache(monkeypatch, tmp_path):
  monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path / 'cache'))
  gin.clear_config()
  gin.bind_parameter('image_sizes.input', (32, 32))
  gin.bind_parameter('image_sizes.target', (32, 32))
  gin.bind_parameter('get_input_modalities.input_modality', ['text'])
  gin.bind_parameter('get_target_modalities.target_modality', ['text'])
  yield
  gin.clear_config()


def write(folder, rows, name='my.jsonl'):
  path = folder / name
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(path)


def picture(folder, name='a.png', size=(40, 40)):
  """Writes a picture, and lets the model see pictures."""
  gin.bind_parameter('get_input_modalities.input_modality', ['text', 'image'])
  Image.new('RGB', size, 'red').save(folder / name)
  return name


def config(name, split='train', **options):
  return input_pipeline.DatasetConfig(
    name, LENGTHS, split, options.pop('batch_size', 2), seed=0, **options
  )


def evaluated(path, **options):
  """The raw fields of each row of a file, and the batches."""
  cfg = config(f'jsonl:{path}', 'validation', **options)
  tasks = seqio.get_subtasks(task_examples.get_mixture_or_task(cfg.mixture_or_task_name))
  batches = [batch for task in tasks for batch in input_pipeline.open_eval(cfg, task.name)]
  return [row for _, rows in batches for row in rows], [batch for batch, _ in batches]


def texts(path):
  return [(row['text_inputs'], row['text_targets']) for row in evaluated(path)[0]]


def qa(number, **more):
  return {'text': f'What is {number}?', 'answers': f'it is {number}', **more}


# ---- What is asked -------------------------------------------------------------------------------
def test_a_text_is_asked_as_it_stands_and_the_first_answer_expected_in_evaluation(tmp_path):
  path = write(tmp_path, [{'text': 'Two {x} \\ two?', 'answers': ['four', '4']}])
  assert texts(path) == [('[Text] [S] Two {x} \\ two?', 'four')]
  (row,), _ = evaluated(path)
  assert row['meta/all_references'].tolist() == ['four', '4']
  assert (row['meta/metric'], row['meta/number']) == ('exact_match', 1)


def test_a_family_gives_its_prompts(tmp_path):
  path = write(tmp_path, [qa(i, task='VQA_short_prompt') for i in range(8)])
  known = prompt_dict.load().families['VQA_short_prompt']
  prompts = [p for kind in known.values() for p in kind]
  asked = [said for said, _ in texts(path)]
  for i, said in enumerate(asked):
    assert said in {'[Text] [S] ' + p.replace('{}', f'What is {i}?') for p in prompts}
  assert len({said.replace(str(i), '') for i, said in enumerate(asked)}) > 1


def test_boxes_become_location_text_on_the_canvas(tmp_path):
  about = {'image': picture(tmp_path), 'boxes': [[0, 0, 40, 20], [0, 20, 40, 40]]}
  lower = '<extra_id_699> <extra_id_200> <extra_id_1199> <extra_id_1199>'
  path = write(
    tmp_path,
    [
      {**about, 'text': 'From {box1} to {box0}?', 'target': 'all: {boxes}'},
      {**about, 'text': 'halves'},
    ],
  )
  assert texts(path) == [
    (f'[Text] [S] From {lower} to {BOX}?', f'all: {BOX} {lower}'),
    ('[Text] [S] halves', f'{BOX} {lower}'),
  ]


def test_rows_with_and_without_pictures_stand_together(tmp_path):
  path = write(tmp_path, [qa(0, image=picture(tmp_path)), qa(1)])
  _, (batch,) = evaluated(path)
  assert batch['inputs/image/mask'].sum(-1).tolist() == [4, 0]


def test_a_picture_to_make_is_the_target(tmp_path):
  gin.bind_parameter('get_target_modalities.target_modality', ['text', 'image'])
  path = write(tmp_path, [{'text': 'red', 'image_target': picture(tmp_path)}, qa(1)])
  (row, _), (batch,) = evaluated(path)
  assert row['text_inputs'] == '[Image] [S] red'
  assert batch['targets/image/mask'].sum(-1).tolist() == [16, 0]
  assert batch['targets/text/mask'].sum(-1).astype(bool).tolist() == [False, True]
  np.testing.assert_allclose(batch['targets/image/image'][0, 5, 5], [1, -1, -1])


def test_options_are_a_task_of_their_own_and_filled_with_rows_that_are_none(tmp_path):
  two, three = ['a', 'b'], ['a', 'b', 'c']
  path = write(
    tmp_path, [{'text': 'A?', 'answers': 'a', 'options': o} for o in (two, three)] + [qa(0)]
  )
  _, (batch, of_options) = evaluated(path)
  assert 'choices' not in batch
  assert of_options['choices'].any(-1).tolist() == [[True, True, False], [True, True, True]]


def test_training_draws_among_answers_and_keeps_to_the_seed(tmp_path):
  path = write(tmp_path, [{'text': 'Q', 'answers': [f'a{i}' for i in range(9)]}] * 2)
  name, _ = jsonl_task.OwnData(data=path).names()

  def targets():
    batches = input_pipeline.open_train(config(name))
    made = [next(batches)['targets/text/targets'].tolist() for _ in range(4)]
    batches.close()
    return made

  first = targets()
  assert first == targets()
  assert len({tuple(row) for batch in first for row in batch}) > 2


def test_a_run_goes_on_where_it_stood(tmp_path):
  path = write(tmp_path, [qa(i) for i in range(50)])
  name, _ = jsonl_task.OwnData(data=path).names()
  batches = input_pipeline.open_train(config(name))
  for _ in range(30):
    next(batches)
  state = json.loads(json.dumps(batches.state()))
  wanted = [next(batches)['inputs/text/tokens'].tolist() for _ in range(3)]
  batches.close()
  again = input_pipeline.open_train(config(name))
  again.restore(state)
  assert [next(again)['inputs/text/tokens'].tolist() for _ in range(3)] == wanted
  again.close()


def test_a_box_that_augmentation_cuts_off_takes_its_example_with_it(tmp_path):
  gin.bind_parameter('resize_and_pad_default.random_scale_min', 4.0)
  gin.bind_parameter('resize_and_pad_default.random_scale_max', 4.1)
  about = {'image': picture(tmp_path, size=(400, 400)), 'text': 'it'}
  rows = [{**about, 'boxes': [0, 0, 10, 10]}, {**about, 'target': 'no box'}]
  name, _ = jsonl_task.OwnData(data=write(tmp_path, rows), held_out=0).names()
  batches = input_pipeline.open_train(config(name, batch_size=40))
  targets = next(batches)['targets/text/targets']
  batches.close()
  decode_ids = vocabulary.get_default_vocabulary().decode
  written = [decode_ids(row.tolist()) for row in targets]
  assert written.count('no box') > 30
  for text in set(written) - {'no box'}:  # those in sight have four places
    assert text.count('extra_id') == 4


# ---- Splits, rates, names ------------------------------------------------------------------------
@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 1.0])
def test_groups_are_held_out_whole_until_the_share_is_reached(share):
  groups = np.random.default_rng(0).integers(0, 2**63, 30).astype(np.uint64).repeat(4)
  held_out = jsonl_task.choose_held_out(groups, share)
  assert held_out.sum() == min(4 * np.ceil(share * 30), 4 * 29)
  assert not set(groups[held_out]) & set(groups[~held_out])


def test_rows_that_are_added_move_few_others(tmp_path):
  groups = np.random.default_rng(0).integers(0, 2**63, 1000).astype(np.uint64)
  before, after = (jsonl_task.choose_held_out(groups[:n], 0.1) for n in (900, 1000))
  assert (before != after[:900]).mean() < 0.03


def test_a_share_is_held_out_or_another_file_evaluated_on(tmp_path):
  path = write(tmp_path, [qa(i) for i in range(40)])
  other = write(tmp_path, [qa(i) for i in range(3)], 'other.jsonl')
  train, evaluation = jsonl_task.OwnData(data=path, held_out=0.1).names()
  assert train == evaluation == 'own.my'
  source = seqio.TaskRegistry.get(train).source
  assert {s: source.num_examples(s) for s in source.splits} == {'train': 36, 'validation': 4}
  assert jsonl_task.OwnData(data=path, data_eval=other).names() == ('own.my', 'own.other')
  source = seqio.TaskRegistry.get('own.my').source
  assert {s: source.num_examples(s) for s in source.splits} == {'train': 40}


def test_pictures_to_be_evaluated_on_alone_are_said(tmp_path, caplog):
  caplog.set_level(logging.WARNING)
  other = write(tmp_path, [qa(0, image=picture(tmp_path))], 'other.jsonl')
  jsonl_task.OwnData(data=write(tmp_path, [qa(0)]), data_eval=other).names()
  assert f'{other} brings image, which the data to learn from do not have' in caplog.text


def test_nothing_can_be_held_out_of_one_picture(tmp_path):
  own = jsonl_task.OwnData(data=write(tmp_path, [qa(0)] * 5))
  assert own.names() == ('own.my', None)
  with pytest.raises(UserError, match=r'nothing is held out .*; give DATA_EVAL'):
    jsonl_task.eval_task(own)


def rates_of(name):
  mixture = seqio.MixtureRegistry.get(name)
  return {task.name: mixture.get_rate(task) for task in mixture.tasks}


def test_files_are_mixed_by_their_rows_or_by_rates(tmp_path):
  choice = {'text': 'A?', 'answers': 'a', 'options': ['a', 'b']}
  a = write(tmp_path, [qa(0), qa(1), qa(2), choice], 'a.jsonl')
  b = write(tmp_path, [qa(0)] * 8, 'b.jsonl')
  name, _ = jsonl_task.OwnData(data=[a, b], held_out=0).names()
  assert rates_of(name) == {'own.a': 3, 'own.a.options': 1, 'own.b': 8}
  name, _ = jsonl_task.OwnData(data={a: 0.8, b: 0.2}, held_out=0).names()
  assert rates_of(name) == pytest.approx({'own.a': 0.6, 'own.a.options': 0.2, 'own.b': 0.2})


def test_files_of_one_name_are_told_apart(tmp_path):
  (tmp_path / 'x').mkdir()
  paths = [write(folder, [qa(0)], 'a-b.jsonl') for folder in (tmp_path, tmp_path / 'x')]
  own = jsonl_task.OwnData(data=paths[0], data_eval=paths[1])
  assert own.names() == ('own.a_b', 'own.a_b_2')


def test_modalities_are_those_that_rows_need(tmp_path):
  text = jsonl_task.OwnData(data=write(tmp_path, [qa(0)]))
  assert jsonl_task.input_modalities(text) == jsonl_task.target_modalities(text) == ['text']
  rows = [qa(0, image=picture(tmp_path)), {'text': 'it', 'image_target': 'a.png'}]
  both = jsonl_task.OwnData(data=write(tmp_path, rows))
  assert jsonl_task.input_modalities(both) == ['text', 'image']
  assert jsonl_task.target_modalities(both) == ['text', 'image']


# ---- Bad rows ------------------------------------------------------------------------------------
def test_every_bad_row_is_named_by_its_line(tmp_path):
  path = write(tmp_path, [qa(0), {'txt': 'x'}, qa(1, image='b.jpg'), {'text': 'Why?'}])
  with pytest.raises(UserError) as refused:
    jsonl_task.OwnData(data=path).names()
  head, *lines = str(refused.value).splitlines()
  assert head.startswith(f'3 of 4 rows of {path} cannot be used; mend them, or add --skip_bad_rows')
  assert lines[0].startswith("  line 2: unknown field 'txt'; did you mean text?")
  assert lines[1] == f'  line 3: image: there is no file {tmp_path}/b.jpg'
  assert lines[2] == '  line 4: neither answers nor a target: nothing to learn'


def test_many_bad_rows_are_named_in_a_file(tmp_path):
  path = write(tmp_path, [{'txt': i} for i in range(50)])
  with pytest.raises(UserError) as refused:
    jsonl_task.OwnData(data=path).names()
  *_, last = str(refused.value).splitlines()
  assert 'and 30 more: see ' in last
  with open(last.split('see ')[1], encoding='utf-8') as report:
    assert sum(line.startswith('  line ') for line in report) == 50


def test_bad_rows_are_skipped_on_request_and_counted(tmp_path, caplog):
  path = write(tmp_path, [qa(0), {'txt': 'x'}, qa(1), {'text': 'Why?'}])
  caplog.set_level(logging.WARNING)
  own = jsonl_task.OwnData(data=path, skip_bad_rows=True, held_out=0)
  name, _ = own.names()
  assert seqio.TaskRegistry.get(name).source.num_examples('train') == 2
  assert f'{path}: 2 of 4 rows are left out.' in caplog.text


def test_a_file_without_a_row_that_can_be_used_is_refused(tmp_path):
  path = write(tmp_path, [{'txt': 'x'}])
  with pytest.raises(UserError, match='no row that can be used, of 1'):
    jsonl_task.OwnData(data=path, skip_bad_rows=True).names()


@pytest.mark.parametrize('missing', ['a.jsonl', 'a.parquet'])
def test_a_missing_file_is_named(tmp_path, missing):
  with pytest.raises(UserError, match=f'there is no data file {tmp_path}/{missing}'):
    jsonl_task.OwnData(data=str(tmp_path / missing)).names()


def test_rows_to_be_asked_need_no_answer(tmp_path):
  assert texts(write(tmp_path, [{'text': 'Why?'}])) == [('[Text] [S] Why?', '')]


def test_long_texts_are_counted_and_said(tmp_path, caplog):
  caplog.set_level(logging.WARNING)
  path = write(tmp_path, [qa(0), {'text': 'word ' * 50 + '.', 'answers': 'a'}])
  jsonl_task.OwnData(data=path, text_inputs=40, held_out=0).names()
  assert 'the input text of 1 of 2 rows is longer than text_inputs=40 tokens' in caplog.text


def test_a_picture_that_breaks_while_training_is_left_out_and_its_line_named(tmp_path, caplog):
  rows = [qa(i, image=picture(tmp_path, f'{i}.png')) for i in range(4)]
  path = write(tmp_path, rows)
  name, _ = jsonl_task.OwnData(data=path, held_out=0).names()
  (tmp_path / '2.png').write_bytes(b'broken')
  caplog.set_level(logging.WARNING)
  batches = input_pipeline.open_train(config(name, batch_size=4, shuffle=False))
  tokens = next(batches)['inputs/text/tokens']
  batches.close()
  assert len({tuple(row) for row in tokens.tolist()}) == 3  # the fourth is the first again
  assert f'{path}, line 3: {tmp_path}/2.png is no picture that can be read' in caplog.text


# ---- Sounds and videos ---------------------------------------------------------------------------
def test_sounds_and_videos_come_through_all_stages_beside_rows_without(tmp_path):
  pytest.importorskip('av')
  wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 9).astype(np.float32)
  (tmp_path / 'a.wav').write_bytes(media_files.sound(wave))
  (tmp_path / 'v.mp4').write_bytes(media_files.video(12, fps=4))
  path = write(tmp_path, [qa(0, audio='a.wav'), qa(1, video='v.mp4'), qa(2)])
  own = jsonl_task.OwnData(data=path)
  inputs = jsonl_task.input_modalities(own)
  assert inputs == ['text', 'audio', 'audio_history', 'image_history']
  gin.bind_parameter('get_input_modalities.input_modality', inputs)
  gin.bind_parameter('image_sizes.history', (32, 32))
  _, (batch,) = evaluated(path, batch_size=3)
  seen = {m: batch[f'inputs/{m}/mask'].reshape(3, -1).any(-1).tolist() for m in inputs}
  assert seen == {
    'text': [True, True, True],
    'audio': [True, False, False],
    'audio_history': [True, False, False],
    'image_history': [False, True, False],
  }


def test_frames_are_resized_faster_to_be_learned_from_and_exactly_to_be_evaluated(
  tmp_path, monkeypatch
):
  pytest.importorskip('av')
  (tmp_path / 'v.mp4').write_bytes(media_files.video(12, fps=4))
  path = write(tmp_path, [qa(1, video='v.mp4')])
  name, _ = jsonl_task.OwnData(data=path, held_out=0).names()
  source = seqio.TaskRegistry.get(name).source
  stored = tf.data.Dataset.from_tensors(source.read('train', np.array([0]))[0])
  made, exactly = video.fields_from_video, []

  def fields_from_video(*args, exact, **options):
    exactly.append(exact)
    return made(*args, exact=exact, **options)

  monkeypatch.setattr(video, 'fields_from_video', fields_from_video)
  for split in ('train', 'validation'):
    list(stored.map(lambda row, split=split: source.decode(split, row)))
  assert exactly == [False, True]
