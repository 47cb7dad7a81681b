"""`make quickstart`: data, training, evaluation beside controls, and a page to look at.

  python -m t5x.examples.unified_io.scripts.quickstart --output runs/quickstart [--steps N]

Every stage is a command that a user of COCO would type; each is printed before it runs. A stage
that is done is not done again, a training that was stopped goes on.
"""

import argparse
from collections.abc import Sequence
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[4]
GIN = 't5x/examples/unified_io/t5_1_1'
RUN = f'--gin_file={GIN}/finetune/quickstart.gin'
SPLITS = 'train,val,test,photos'
CPU_DEVICES = '2'  # half a batch on each of two cores is faster than two threads in each product
MADE_WITH = 'made_with.json'  # beside the model: what its training was started with


class Stages:
  """Runs commands, prints them, and keeps what each took."""

  def __init__(self):
    """Starts the clock."""
    self.seconds: dict[str, float] = {}

  def run(self, name: str, command: Sequence[str]) -> None:
    """Runs one command of Python; ends the program where it fails."""
    print(f'\n== {name}\n$ python {" ".join(command)}', flush=True)
    start = time.monotonic()
    environment = {'JAX_NUM_CPU_DEVICES': CPU_DEVICES, **os.environ}
    code = subprocess.run(
      [sys.executable, *command], cwd=ROOT, env=environment, check=False
    ).returncode
    if code:
      sys.exit(
        f'quickstart: the stage {name!r} ended with status {code}; its own words stand above.'
      )
    self.seconds[name] = round(time.monotonic() - start, 1)


def main() -> None:
  """Runs all stages."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--output', type=pathlib.Path, default=pathlib.Path('runs/quickstart'))
  parser.add_argument('--steps', type=int, help='train so many steps only, to see that all works')
  args = parser.parse_args()
  out = args.output.resolve()
  out.mkdir(parents=True, exist_ok=True)

  stages = Stages()
  build_data(stages, out)
  train(stages, out, args.steps)
  for name, bindings in evaluations(out).items():
    evaluate(stages, out, name, bindings)
  # Imported here: the stages above need no TensorFlow in this process.
  from t5x.examples.unified_io.scripts import quickstart_report

  quickstart_report.write(out)
  print_summary(stages, out)


def build_data(stages: Stages, out: pathlib.Path) -> None:
  """Draws the world and builds both datasets, unless an earlier call did."""
  world, tfds = out / 'world', out / 'tfds'
  marker = out / 'data_is_complete'
  if marker.exists():
    print(f'Using the data of an earlier call in {out}.', flush=True)
    return
  build = 'create_data/tfdatasets/{}/build.py'
  stages.run('draw the world', ['create_data/demo_world/make.py', f'{world}'])
  stages.run(
    'build coco_all',
    [build.format('coco_all'), f'{tfds}', f'{world}/vqa', f'{world}/coco', '--splits', SPLITS],
  )
  stages.run(
    'build refcoco', [build.format('refcoco'), f'{tfds}', f'{world}/refcoco', f'{world}/coco']
  )
  marker.touch()


def train(stages: Stages, out: pathlib.Path, steps: int | None) -> None:
  """Trains, or goes on; a model that was made with other settings is made anew."""
  model = out / 'model'
  made_with = {'steps': steps, 'config': (ROOT / GIN / 'finetune' / 'quickstart.gin').read_text()}
  record = model / MADE_WITH
  if model.exists() and (not record.exists() or json.loads(record.read_text()) != made_with):
    print(f'{model} was made with other settings; training anew.', flush=True)
    shutil.rmtree(model)
  model.mkdir(exist_ok=True)
  record.write_text(json.dumps(made_with))
  command = ['t5x/train.py', RUN, f'--tfds_data_dir={out}/tfds', f"--gin.MODEL_DIR='{model}'"]
  stages.run('train', command + ([f'--gin.TRAIN_STEPS={steps}'] if steps else []))


def evaluations(out: pathlib.Path) -> dict[str, list[str]]:
  """Folder -> what differs: the test scenes, the same with pictures exchanged, the photographs."""
  return {
    'test': ["--gin.SPLIT='test'"],
    'swapped': ["--gin.SPLIT='test'", "--gin.UnifiedIOEvaluator.exchange=('inputs/image/',)"],
    'photos': ["--gin.SPLIT='photos'", '--gin.evaluate.log_only=True'],
  }


def evaluate(stages: Stages, out: pathlib.Path, name: str, bindings: Sequence[str]) -> None:
  """Runs eval.py on the newest checkpoint."""
  results = out / 'eval' / name
  shutil.rmtree(results, ignore_errors=True)
  stages.run(
    f'evaluate: {name}',
    [
      't5x/eval.py', RUN, f'--gin_file={GIN}/eval/quickstart.gin', f'--tfds_data_dir={out}/tfds',
      f"--gin.CHECKPOINT_PATH='{out}/model'", f"--gin.EVAL_OUTPUT_DIR='{results}'", *bindings,
    ],
  )  # fmt: skip


def print_summary(stages: Stages, out: pathlib.Path) -> None:
  """Prints what was measured, what it took, and where to look."""
  memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
  metrics = json.loads((out / 'metrics.json').read_text())
  print(
    f'\n{"task":32}{"metric":10}'
    + ''.join(f'{n:>10}' for n in ('value', 'baseline', 'swapped', 'best', 'n'))
  )
  for task, values in metrics.items():
    for metric, row in values.items():
      numbers = ''.join(f'{row[n]:10.3f}' for n in ('value', 'baseline', 'swapped', 'best'))
      print(f'{task:32}{metric:10}{numbers}{row["n"]:10}')
  took = ', '.join(f'{name} {seconds:.0f} s' for name, seconds in stages.seconds.items())
  print(f'\n{sum(stages.seconds.values()):.0f} s ({took}); peak memory {memory:.1f} GiB')
  print(f'Look at {out / "index.html"}')


if __name__ == '__main__':
  main()
