"""Writes the annotated photographs as JSON lines, the format of docs/own_data.md.

python3 create_data/demo_world/as_jsonl.py OUT.jsonl
"""

from collections.abc import Iterator, Mapping
import json
import pathlib
import sys
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent


def rows_of(photograph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """Captions, questions, and the box and the name of each object."""
  image = {'image': str(HERE / 'photographs' / photograph['file'])}
  yield {**image, 'answers': photograph['captions']}
  for question in photograph['questions']:
    yield {**image, 'text': question['question'], 'answers': question['answers']}
  for item in photograph['objects']:
    box = {'boxes': [item['box']], 'box_format': 'xywh'}
    for expression in item['expressions']:
      yield {**image, **box, 'task': 'Refexp', 'text': expression}
    yield {**image, **box, 'answers': item['category']}


def main(out: str) -> None:
  """Writes all rows to `out`."""
  photographs = json.loads((HERE / 'photographs.json').read_text(encoding='utf-8'))
  path = pathlib.Path(out)
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open('w', encoding='utf-8') as file:
    for photograph in photographs:
      for row in rows_of(photograph):
        file.write(json.dumps(row) + '\n')


if __name__ == '__main__':
  if len(sys.argv) != 2:
    sys.exit(__doc__)
  main(sys.argv[1])
