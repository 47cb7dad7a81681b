"""From the command line to a configured call: flags, gin files, bindings, one sentence on error.

`run(fn)` is the whole `__main__` part of every entry point.
"""

from collections.abc import Callable, Sequence
import functools
import os
import pathlib
import re
import sys
from typing import Any

from absl import app, flags, logging
import gin
import jax

from t5x import bindings as names
from t5x import host_memory, hosts, preflight
from t5x.bindings import UserError, explained
from t5x.checkpoint_config import CheckpointError

ROOT = pathlib.Path(__file__).resolve().parents[1]  # of the repository, or where t5x is installed
# Orbax wants absolute paths, and a relative one means the folder in which the command was typed.
PATH_MACROS = (
  'MODEL_DIR', 'INITIAL_CHECKPOINT_PATH', 'CHECKPOINT_PATH', 'EVAL_OUTPUT_DIR', 'INFER_OUTPUT_DIR',
  'DATA', 'DATA_EVAL', 'TOKENIZED_DIR',
)  # fmt: skip


# ---- Gin -----------------------------------------------------------------------------------------
def rewrite_gin_args(args: Sequence[str]) -> list[str]:
  """Turns `--gin.NAME=VALUE` into `--gin_bindings=NAME = VALUE`; leaves other arguments alone.

  Raises:
    UserError: when an argument that starts with `--gin.` has no `=`.
  """

  def rewrite(arg: str) -> str:
    if not arg.startswith('--gin.'):
      return arg
    name, equals, value = arg.removeprefix('--gin.').partition('=')
    if not equals:
      raise UserError(f'{arg} has no value; write {arg}=VALUE.')
    return f'--gin_bindings={name} = {value}'

  return [rewrite(arg) for arg in args]


def config_text() -> str:
  """The whole configuration, which parsed again gives the same."""
  return gin.config_str()


def absolute_path(path: Any) -> Any:
  """A path, a list or the keys of a dict, seen from the current folder; gs:// and None stay."""
  if isinstance(path, dict):
    return {absolute_path(p): value for p, value in path.items()}
  if isinstance(path, (list, tuple)):
    return type(path)(absolute_path(p) for p in path)
  if not isinstance(path, str) or '://' in path:
    return path
  return os.path.abspath(os.path.expanduser(path))


def parse(
  gin_files: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = (),
  *,
  whole_run: bool = True,
) -> None:
  """Reads gin files in order, then bindings; checks the whole, makes its paths absolute, locks it.

  A relative file is looked for here, then in `search_paths`, then beside the package t5x. Without
  `whole_run` macros that nobody has set become None: a tool needs no MODEL_DIR.

  Raises:
    UserError: one sentence on the first thing that cannot be, with the near names.
  """
  prefixes = ['', *search_paths, str(ROOT)]
  for file in gin_files:
    if not any(os.path.isfile(os.path.join(prefix, file)) for prefix in prefixes):
      known = [str(p.relative_to(ROOT)) for p in ROOT.glob('t5x/**/*.gin')]
      places = ', '.join(prefix or os.getcwd() for prefix in prefixes)
      raise UserError(f'There is no gin file {file} in {places}{names.near(file, known)}')
  for file in gin_files:
    with explained(file), names.searching(prefixes):
      gin.parse_config_file(file)
  for binding in bindings:
    _parse_binding(binding)
  if whole_run:
    names.check_macros_are_set()
  else:
    names.leave_macros_open()
  for name, value in names.macros().items():
    if name in PATH_MACROS:
      gin.bind_parameter(f'{name}/gin.macro.value', absolute_path(value))
  with explained():
    gin.finalize()


def _parse_binding(binding: str) -> None:
  name, _, value = (part.strip() for part in binding.partition('='))
  if re.fullmatch(r'\w+', name):
    names.check_macro_is_known(name)
  try:
    with explained():
      gin.parse_config(binding)
  except UserError as e:
    if isinstance(e.__cause__, SyntaxError):
      quoted = value.strip('\'"')
      raise UserError(
        f'{value} is no gin value for {name}; a string needs quotes that pass the shell: '
        f'--gin.{name}=\\"{quoted}\\"'
      ) from e
    raise


# ---- Entry points --------------------------------------------------------------------------------
def run(fn: Callable[..., Any], positional: Sequence[str] = ()) -> None:
  """Runs `fn` as a command: TensorFlow off the accelerators, flags, gin, checks, then the call.

  A command line or gin file that asks for something impossible ends with one sentence on standard
  error and status 2. Make it the last line of a script.

  Args:
    fn: takes keyword arguments, which gin supplies.
    positional: macros that take the arguments without dashes, in order.
  """
  host_memory.keep_freed_blocks()
  preflight.hide_accelerators_from_tf()
  _define_flags()
  try:
    app.run(functools.partial(_main, fn, positional), argv=rewrite_gin_args(sys.argv))
  except UserError as e:
    sys.exit(_refused(e))


def _main(fn, positional, argv):
  args = flags.FLAGS
  if args['verbosity'].using_default_value:
    logging.set_verbosity(logging.INFO)
  try:
    _join_hosts(args)
    given = _positional(positional, argv[1:])
    _share_main_module(fn)
    skip = ['SKIP_BAD_ROWS = True'] if args.skip_bad_rows else []
    parse(args.gin_file, [*given, *args.gin_bindings, *skip], args.gin_search_paths)
    if args.tfds_data_dir:
      preflight.set_tfds_data_dir(absolute_path(args.tfds_data_dir))
    arguments = preflight.arguments_of(fn)
    preflight.check(arguments, files=not args.dry_run)
    if args.dry_run:
      print(f'{config_text()}\n{preflight.describe(arguments)}')
    else:
      logging.info('Configuration:\n%s', config_text())
      fn(**arguments)
  except (UserError, CheckpointError) as e:
    sys.exit(_refused(e))


def _join_hosts(args):
  """Joins the other processes of the run, where there are any."""
  if not args.multiprocess_gpu:
    return
  given = {n: args[n].value for n in ('coordinator_address', 'process_count', 'process_index')}
  missing = [f'--{name}' for name, value in given.items() if value is None]
  if 0 < len(missing) < len(given):
    raise UserError(f'--multiprocess_gpu with one of its flags needs {" and ".join(missing)} too.')
  hosts.join(*given.values())


def _positional(macros: Sequence[str], words: Sequence[str]) -> list[str]:
  """Bindings of the macros to the words of the command line."""
  if len(words) > len(macros):
    word = words[len(macros)]
    raise UserError(f'{word} is no option; options start with --, values follow an = sign.')
  if missing := macros[len(words) :]:
    raise UserError(f'give {" and ".join(missing)} as words without dashes, in this order.')
  return [f'{macro} = {word!r}' for macro, word in zip(macros, words, strict=True)]


def _refused(error: Exception) -> int:
  print(f'{pathlib.Path(sys.argv[0]).name}: {error}', file=sys.stderr)
  return 2


def _share_main_module(fn):
  """Lets `from t5x import train` in a gin file find the script that runs, not a second copy."""
  main = sys.modules['__main__']
  if fn.__module__ == '__main__':
    name = '.'.join(pathlib.Path(main.__file__).resolve().relative_to(ROOT).with_suffix('').parts)
    sys.modules[name] = main


@functools.cache
def _define_flags():
  jax.config.config_with_absl()
  flags.DEFINE_multi_string('gin_file', [], 'Gin file; repeatable, later ones win.')
  flags.DEFINE_multi_string('gin_bindings', [], "Binding 'NAME = VALUE', after all files.")
  flags.DEFINE_list('gin_search_paths', ['.'], 'Folders in which gin files are looked for.')
  flags.DEFINE_string('tfds_data_dir', None, 'TFDS folder of every task.')
  flags.DEFINE_bool('multiprocess_gpu', False, 'One of several processes.')
  flags.DEFINE_string('coordinator_address', None, 'HOST:PORT of process 0.')
  flags.DEFINE_integer('process_count', None, 'How many processes run this command.')
  flags.DEFINE_integer('process_index', None, 'Number of this one, from 0.')
  flags.DEFINE_bool('skip_bad_rows', False, 'Go on without rows of your data that are bad.')
  flags.DEFINE_bool('dry_run', False, 'Print configuration, batch and parameters, and stop.')
