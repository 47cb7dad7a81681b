"""Records of plain files are found by number, through an index that is made once."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from t5x import record_files, stream
from t5x.record_files import RecordFiles, index_of, scan_lines, scan_tfrecord


def write_tfrecord(path, records):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


def write_lines(path, text):
  path.write_bytes(text)
  return str(path)


def all_of(files):
  return files.__getitems__(list(range(len(files))))


@pytest.mark.parametrize('text', [b'a\n\nbcd\n  \nef', b'a\nbcd\r\nef\n', b'\n\na\nbcd\nef\n\n'])
def test_lines_that_are_not_blank_are_records(tmp_path, text):
  files = RecordFiles([(write_lines(tmp_path / 'x.jsonl', text), 0, None)], scan_lines)
  assert [record.strip() for record in all_of(files)] == [b'a', b'bcd', b'ef']


def test_an_empty_file_has_no_records(tmp_path):
  assert len(index_of(write_lines(tmp_path / 'x', b''), scan_lines)) == 0


def test_tfrecords_are_those_that_were_written(tmp_path):
  records = [b'one', b'', b'three' * 1000]
  files = RecordFiles([(write_tfrecord(tmp_path / 'x', records), 0, None)], scan_tfrecord)
  assert all_of(files) == records


def test_files_and_parts_of_files_are_numbered_through(tmp_path):
  first = write_lines(tmp_path / 'a', b'0\n1\n2\n')
  second = write_lines(tmp_path / 'b', b'3\n4\n')
  files = RecordFiles([(first, 1, None), (second, 0, 1), (first, 0, 2)], scan_lines)
  assert all_of(files) == [b'1', b'2', b'3', b'0', b'1']
  assert files.__getitems__([4, 2, 2]) == [b'1', b'3', b'3']


def test_an_index_is_made_once_and_again_when_the_file_changes(tmp_path):
  path, scans = write_lines(tmp_path / 'x', b'0\n1\n'), []

  def scan(data):
    scans.append(len(data))
    return scan_lines(data)

  assert index_of(path, scan).tolist() == index_of(path, scan).tolist() == [[0, 1], [2, 1]]
  assert scans == [4]
  write_lines(tmp_path / 'x', b'0\n1\n2\n')
  assert len(index_of(path, scan)) == 3


def test_where_nothing_can_be_written_the_index_stays_in_memory(tmp_path, monkeypatch):
  def refuse(*args, **kwargs):
    raise PermissionError('read-only')

  path = write_lines(tmp_path / 'x', b'0\n1\n')
  monkeypatch.setattr(record_files.tempfile, 'NamedTemporaryFile', refuse)
  assert len(index_of(path, scan_lines)) == 2
  assert os.listdir(tmp_path) == ['x']


@pytest.mark.parametrize('cut', [3, 14, 20])
def test_a_file_that_ends_within_a_record_is_refused(tmp_path, cut):
  path = write_tfrecord(tmp_path / 'x', [b'one', b'two'])
  with open(path, 'r+b') as file:
    file.truncate(os.path.getsize(path) - cut)
  with pytest.raises(ValueError, match=r'x: the file ends within record'):
    index_of(path, scan_tfrecord)


def test_a_source_of_lines_reads_and_decodes_by_number(tmp_path):
  path = write_lines(tmp_path / 'x.jsonl', b'5\n6\n7\n')
  decode = lambda line: {'number': tf.strings.to_number(line, tf.int32)}
  source = stream.FileSource({'train': path, 'test': [path, path]}, decode)
  assert isinstance(source, stream.RandomAccessSource)
  assert (source.num_examples('train'), source.num_examples('test')) == (3, 6)
  assert source.read('test', np.array([4, 0])).tolist() == [b'6', b'5']
  epoch = source.get_dataset('train', shuffle=True, seed=1).as_numpy_iterator()
  assert sorted(int(example['number']) for example in epoch) == [5, 6, 7]
  with pytest.raises(ValueError, match=r"has no split 'tset'; did you mean one of \['test'\]"):
    source.num_examples('tset')


class Squares(tfds.core.GeneratorBasedBuilder):
  """Ten squares."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({'n': np.int64}))

  def _split_generators(self, dl_manager):
    return {'train': ((str(i), {'n': i * i}) for i in range(10))}

  def _generate_examples(self):
    raise NotImplementedError


@pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated')  # TFDS and protobuf
def test_a_tfds_folder_of_tfrecords_is_read_by_number(tmp_path):
  Squares(data_dir=str(tmp_path), file_format='tfrecord').download_and_prepare()
  source = stream.TfdsSource(
    'squares:1.0.0', data_dir=str(tmp_path), splits={'train': 'train[3:]', 'all': 'train'}
  )
  numbers = {split: [source.record(split, i)['n'] for i in range(source.num_examples(split))]
             for split in ('all', 'train')}  # fmt: skip
  assert sorted(numbers['all']) == [i * i for i in range(10)]
  assert numbers['train'] == numbers['all'][3:]
