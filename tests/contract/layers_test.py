"""Who may import whom (docs/architecture.md): every module stands in one row, no arrow goes up."""

import ast
import pathlib
import sys
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[2]
UIO = 't5x.examples.unified_io'


class Row(NamedTuple):
  level: int
  lane: str  # 'base', 'jax', 'tf', 'gin' or 'both'


# The longest matching prefix decides.
ROWS = {
  't5x.array_types': Row(0, 'base'),
  't5x.host_memory': Row(0, 'base'),
  't5x.text_table': Row(0, 'base'),
  f'{UIO}.config': Row(0, 'base'),
  f'{UIO}.modality_specs': Row(0, 'base'),
  **{
    f't5x.{name}': Row(1, 'jax')
    for name in (
      'partitioning', 'losses', 'metrics', 'schedules', 'optimizers', 'adafactor', 'adapters',
      'state_transforms', 'decoding', 'hosts', 'json_lines',
    )
  },
  f'{UIO}.modules': Row(1, 'jax'),
  f'{UIO}.data': Row(1, 'tf'),
  f'{UIO}.media': Row(1, 'tf'),
  **{
    f't5x.{name}': Row(2, 'jax')
    for name in (
      'train_state', 'checkpoint_config', 'checkpoints', 'legacy_checkpoints', 'models', 'loggers',
    )
  },
  **{f't5x.{name}': Row(1, 'tf') for name in ('ordering', 'read_ahead', 'record_files')},
  **{
    f't5x.{name}': Row(2, 'tf')
    for name in ('stream', 'task_examples', 'shards', 'eval_batches', 'input_pipeline')
  },
  't5x.gin_utils': Row(2, 'gin'),
  't5x.bindings': Row(2, 'gin'),
  't5x.preflight': Row(2, 'gin'),
  f'{UIO}.network': Row(2, 'jax'),
  f'{UIO}.interop': Row(2, 'jax'),
  f'{UIO}.modality_processing': Row(2, 'tf'),
  f'{UIO}.packing': Row(2, 'tf'),
  f'{UIO}.packing_pools': Row(2, 'tf'),
  't5x.trainer': Row(3, 'jax'),
  't5x.hooks': Row(3, 'jax'),
  f'{UIO}.models': Row(3, 'jax'),
  f'{UIO}.tokenizer_training': Row(3, 'jax'),
  f'{UIO}.inference.predict': Row(3, 'jax'),
  f'{UIO}.inference.guidance': Row(3, 'jax'),
  't5x.prediction': Row(3, 'both'),
  't5x.evaluation': Row(3, 'both'),
  f'{UIO}.inference.inputs': Row(3, 'tf'),
  f'{UIO}.inference.task_rules': Row(3, 'both'),
  f'{UIO}.inference.evaluator': Row(3, 'both'),
  f'{UIO}.inference.api': Row(3, 'both'),
  f'{UIO}.metrics': Row(3, 'tf'),
  **{
    f'{UIO}.data.{name}': Row(3, 'tf')
    for name in (
      'tasks', 'nlp_tasks', 'mixtures', 'jsonl_task', 'own_source', 'text_adapter', 'tokenized',
    )
  },
  **{f't5x.{name}': Row(4, 'both') for name in ('train', 'eval', 'infer', 'doctor')},
  f'{UIO}.utils': Row(4, 'both'),
  f'{UIO}.scripts': Row(4, 'both'),
  f'{UIO}.app': Row(4, 'both'),
}  # fmt: skip

PACKAGES = {'t5x', 't5x.examples', UIO, f'{UIO}.inference'}  # a docstring each, no import
JAX_LANE_MAY = {
  'absl', 'flax', 'jax', 'jaxlib', 'jaxtyping', 'msgpack', 'numpy', 'optax', 'orbax', 'safetensors',
  'tensorstore',
}  # fmt: skip
JAX = {'flax', 'jax', 'jaxlib', 'optax', 'orbax'}
TF = {'clu', 'gin', 'seqio', 'tensorflow', 'tensorflow_datasets', 'tensorflow_text'}
# Loggers load what they write for only when one of them is made.
OPTIONAL = {'t5x.loggers': {'tensorboard', 'wandb'}}
FLAX_MAY = (f'{UIO}.modules', f'{UIO}.network')


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {
  module_name(p): p for folder in ('t5x', 'create_data') for p in ROOT.glob(f'{folder}/**/*.py')
}


def row_of(module: str) -> Row | None:
  prefixes = [p for p in ROWS if module == p or module.startswith(p + '.')]
  return ROWS[max(prefixes, key=len)] if prefixes else None


def imports_of(path: pathlib.Path) -> set[str]:
  """Full names of everything imported anywhere in the file, inside functions too."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}:{node.lineno}: relative import; write the full name'
      for alias in node.names:
        assert alias.name != '*', f'{path}:{node.lineno}: star import'
        full = f'{node.module}.{alias.name}'
        names.add(full if full in MODULES else node.module)
  return names


def lane_faults(module: str, row: Row, imported: str) -> str | None:
  top = imported.split('.')[0]
  third_party = top not in sys.stdlib_module_names and top not in ('t5x', 'create_data')
  if not third_party:
    return None
  if top == 'flax' and not module.startswith(FLAX_MAY):
    return 'only modules/ and network.py import flax'
  if row.lane == 'base' and top != 'numpy':
    return 'layer 0 imports numpy only'
  if row.lane == 'jax' and top not in JAX_LANE_MAY | OPTIONAL.get(module, set()):
    return 'not on the list of the JAX lane'
  if row.lane == 'tf' and top in JAX:
    return 'the TF lane imports no JAX'
  return None


def arrow_faults(module: str, row: Row, imported: str) -> str | None:
  if not imported.startswith('t5x.') or imported in PACKAGES:
    return None
  other = row_of(imported)
  if other is None:
    return 'is in no row'
  framework = not module.startswith('t5x.examples')
  if framework and imported.startswith('t5x.examples'):
    return 'the framework knows no example'
  if other.level > row.level:
    return f'layer {row.level} imports layer {other.level}'
  if {row.lane, other.lane} == {'jax', 'tf'}:
    return 'the lanes meet in layer 3 only'
  return None


@pytest.mark.parametrize('module', sorted(m for m in MODULES if m.startswith('t5x')))
def test_module_imports_only_what_its_layer_may(module):
  imported = imports_of(MODULES[module])
  if module in PACKAGES:
    assert not imported, f'{module} is a package of docstrings; it imports {sorted(imported)}'
    return
  row = row_of(module)
  assert row, f'{module} stands in no row of the layers; add it to tests/contract/layers_test.py'
  faults = [
    f'{module} imports {name}: {fault}'
    for name in sorted(imported)
    for fault in (lane_faults(module, row, name), arrow_faults(module, row, name))
    if fault
  ]
  assert not faults, '\n'.join(faults)


@pytest.mark.parametrize('module', sorted(m for m in MODULES if m.startswith('create_data')))
def test_build_scripts_import_no_jax(module):
  tops = {name.split('.')[0] for name in imports_of(MODULES[module])}
  assert not tops & JAX


def test_there_is_no_cycle_of_imports():
  graph = {m: {i for i in imports_of(p) if i in MODULES} for m, p in MODULES.items()}
  done: set[str] = set()

  def visit(module: str, path: tuple[str, ...]) -> None:
    assert module not in path, ' -> '.join((*path, module))
    if module not in done:
      for imported in graph[module]:
        visit(imported, (*path, module))
      done.add(module)

  for module in graph:
    visit(module, ())


def test_no_file_of_the_framework_hides_another_module():
  # `python t5x/train.py` puts t5x/ first on the import path.
  ours = {p.stem for p in (ROOT / 't5x').glob('*.py')} - {'__init__'}
  third_party = {
    'jax',
    'flax',
    'optax',
    'orbax',
    'numpy',
    'tensorflow',
    'seqio',
    'gin',
    'clu',
    'datasets',
    'wandb',
  }
  assert not ours & (set(sys.stdlib_module_names) | third_party)
