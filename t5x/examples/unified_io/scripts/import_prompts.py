"""Takes over the prompts of the original Unified-IO 2, whose sentences the released weights know.

  python -m t5x.examples.unified_io.scripts.import_prompts ORIGINAL_CHECKOUT OUT.json

reads t5x/examples/unified_io/data/prompt_dict.py of a checkout that you have, as text: none of its
code is executed. Then `UIO2_PROMPTS=OUT.json`, or `--gin.Prompt.files="'OUT.json'"`, uses them.
"""

import argparse
import ast
import collections
from collections.abc import Mapping, Sequence
import contextlib
import json
import pathlib
import re
import sys
from typing import Any

from t5x.examples.unified_io.data import prompt_dict, prompts

TABLE = 'PROMPT_DICT'
PLACE = pathlib.Path('t5x/examples/unified_io/data/prompt_dict.py')
# Tasks ask for these families, which the original lacks: it uses the data sets' own families alone.
# Empty ones keep our sentences out.
LACKING = ('Image_Captioning', 'Image_Generation')


class _Folded(ast.NodeTransformer):
  """Puts constants of the module in place of their names and joins texts and lists at a '+'."""

  def __init__(self):
    self.constants: dict[str, ast.expr] = {}

  def visit_Name(self, node: ast.Name) -> ast.expr:
    return self.constants.get(node.id, node)

  def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
    node = self.generic_visit(node)
    if isinstance(node.op, ast.Add):
      try:
        joined = ast.literal_eval(node.left) + ast.literal_eval(node.right)
      except (ValueError, TypeError):
        return node
      return ast.copy_location(ast.parse(repr(joined), mode='eval').body, node)
    return node


class Module:
  """What the text of a module says of its prompts.

  `TABLE = {...}`, `TABLE = wrapper(..., {...})`, `TABLE.update({...})` and `TABLE[family] = {...}`
  fill the table.

  Attributes:
    table: family -> what stands there.
    constants: the module's other names whose values are literals.
    unread: what of the table is no literal and so was left out, with its line.
  """

  def __init__(self, source: str):
    """Reads the text; nothing of it is executed.

    Raises:
      SyntaxError: it is no Python.
    """
    self.table: dict[str, Any] = {}
    self.constants: dict[str, Any] = {}
    self.unread: list[str] = []
    self._folded = _Folded()
    for statement in ast.parse(source).body:
      self._read(statement)

  def _read(self, statement: ast.stmt) -> None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
      target, value = statement.value.func, statement.value
    elif isinstance(statement, ast.Assign):
      target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign) and statement.value is not None:
      target, value = statement.target, statement.value
    else:
      return
    value = self._folded.visit(value)
    written = ast.unparse(target)
    if written in (TABLE, f'{TABLE}.update'):
      for literal in _dicts(value):
        for key, kinds in zip(literal.keys, literal.values, strict=True):
          self._put(key, kinds)
    elif isinstance(statement, ast.Assign) and re.fullmatch(rf'{TABLE}\[[^]]*\]', written):
      self._put(target.slice, value)
    elif written.startswith(TABLE):
      self.unread.append(f'{written} (line {statement.lineno})')
    elif isinstance(target, ast.Name):
      with contextlib.suppress(ValueError):
        self.constants[target.id] = ast.literal_eval(value)
        self._folded.constants[target.id] = value

  def _put(self, family: ast.expr | None, kinds: ast.expr) -> None:
    try:
      self.table[ast.literal_eval(family)] = ast.literal_eval(kinds)
    except (ValueError, TypeError):  # a call, a name, or '**another' without a key
      name = '**' if family is None else ast.unparse(family)
      self.unread.append(f'{name} (line {kinds.lineno})')


def _dicts(value: ast.expr) -> list[ast.Dict]:
  """The dict literals of `{...}`, or of a wrapper's arguments."""
  if isinstance(value, ast.Call):
    return [literal for argument in value.args for literal in _dicts(argument)]
  return [value] if isinstance(value, ast.Dict) else []


def families_of(
  table: Mapping[str, Any], constants: Mapping[str, Any]
) -> tuple[dict[str, dict[str, list[Any]]], collections.Counter[str]]:
  """(what our files hold, how many prompts of each kind are left out since nobody reads them).

  Args:
    table: family -> kind -> prompts, or family -> prompts.
    constants: of the same file; the prompts for any picture at all are among them.
  """
  families: dict[str, dict[str, list[Any]]] = {family: {} for family in LACKING}
  left_out: collections.Counter[str] = collections.Counter()
  for family, kinds in table.items():
    if not isinstance(kinds, Mapping):
      kinds = {'original': list(kinds)}
    families[family] = {}
    for kind, sentences in kinds.items():
      if kind in prompt_dict.KINDS:
        families[family][kind] = [list(s) if isinstance(s, tuple) else s for s in sentences]
      else:
        left_out[kind] += len(sentences)
  free = [
    value
    for constant, value in constants.items()
    if 'uncond' in constant.lower() and isinstance(value, list | tuple) and value
  ]
  if len(free) == 1:
    families.setdefault(prompts.UNCONDITIONAL_IMAGE, {'original': list(free[0])})
  return families, left_out


def main(args: Sequence[str] | None = None) -> None:
  """Reads, checks and writes; prints what was found."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('checkout', type=pathlib.Path, help='of the original, or its prompt_dict.py')
  parser.add_argument('out', type=pathlib.Path, help='the JSON file to write')
  options = parser.parse_args(args)
  file = options.checkout / PLACE if options.checkout.is_dir() else options.checkout
  if not file.is_file():
    sys.exit(f'import_prompts: there is no {file}; give the folder that holds {PLACE}')
  try:
    module = Module(file.read_text(encoding='utf-8'))
    families, left_out = families_of(module.table, module.constants)
    prompt_dict.check(families, str(file))
  except SyntaxError as error:
    sys.exit(f'import_prompts: {file}, line {error.lineno}: no Python ({error.msg})')
  except ValueError as error:
    sys.exit(f'import_prompts: {error}')
  if not module.table:
    sys.exit(f'import_prompts: {file} has no table {TABLE} of literals')
  options.out.parent.mkdir(parents=True, exist_ok=True)
  options.out.write_text(
    json.dumps(families, indent=1, ensure_ascii=False) + '\n', encoding='utf-8'
  )
  print(f'{options.out}: {_summary(families)}')
  for kind, count in left_out.items():
    print(f'{count} prompts of the kind {kind!r} are left out: nobody reads them.')
  if module.unread:
    print(f'Left out, since nothing is executed and they are no literals: {module.unread}')
  if prompts.UNCONDITIONAL_IMAGE not in families:
    print(f'No list named "...uncond..." was found: our {prompts.UNCONDITIONAL_IMAGE} stays.')
  print(f'Use it: {prompt_dict.ENVIRONMENT_VARIABLE}={options.out}')


def _summary(families: Mapping[str, Mapping[str, list[Any]]]) -> str:
  counts: collections.Counter[str] = collections.Counter()
  for kinds in families.values():
    counts.update({kind: len(sentences) for kind, sentences in kinds.items()})
  told = ', '.join(f'{count} {kind}' for kind, count in counts.items() if count)
  return f'{len(families)} families; prompts: {told}'


if __name__ == '__main__':
  main()
