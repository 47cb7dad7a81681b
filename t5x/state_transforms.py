"""Trees as flat {path: leaf} dicts, and renames of paths by regular expressions.

A path is the keys of a nested dict joined by '/': 'target/encoder/encoder_norm/scale'.
"""

from collections.abc import Mapping, Sequence
import difflib
import re
from typing import Any

from t5x.array_types import PyTree

Rule = tuple[str, str | None]  # (regex of the wanted path, template of the source path or None)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Nested dicts -> {path: leaf}, in the order of the tree. Empty dicts vanish."""
  flat: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat.update({f'{key}/{path}': leaf for path, leaf in flatten(value).items()})
    else:
      flat[str(key)] = value
  return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """{path: leaf} -> nested dicts, the inverse of `flatten`.

  Raises:
    ValueError: when a path is both a leaf and a folder of others.
  """
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *folders, name = path.split('/')
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
      if not isinstance(node, dict):
        raise ValueError(f'{path!r} lies below a path that is an array itself')
    if name in node:
      raise ValueError(f'{path!r} is both an array and a folder of arrays')
    node[name] = leaf
  return tree


def matching(paths: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
  """The paths that one of the regular expressions matches as a whole, in their order.

  Raises:
    ValueError: for a pattern that matches nothing; the near paths are offered.
  """
  for pattern in patterns:
    if not any(re.fullmatch(pattern, path) for path in paths):
      near = difflib.get_close_matches(pattern, paths, cutoff=0.3) or sorted(paths)[:5]
      raise ValueError(f'the pattern {pattern!r} matches no path as a whole; near it are {near}')
  return tuple(p for p in paths if any(re.fullmatch(pattern, p) for pattern in patterns))


def apply_assignment_map(
  source: PyTree,
  wanted: PyTree,
  rules: Sequence[Rule],
  *,
  require_all_rules_match: bool = True,
  is_resuming: bool = False,
) -> PyTree:
  """Renames what a checkpoint holds to what a train state asks for.

  For each path of `wanted` the first rule decides whose regular expression matches all of it: its
  template, expanded by the groups, names the source path; None drops the path (a source leaf of
  that name is not carried over either). What a rule took is not in the result under its old name,
  unless that name is wanted too; all other source leaves stay as they are.

  Args:
    source: nested dict of what was read.
    wanted: nested dict; only its paths count.
    rules: pairs (regex, template or None), tried in order.
    require_all_rules_match: refuse a rule that decided nothing.
    is_resuming: a run that goes on has the right names already; return `source` as it is.

  Returns:
    A nested dict.

  Raises:
    ValueError: for a source path that does not exist, or a rule without use.
  """
  if is_resuming:
    return source
  have, used = flatten(source), set()
  assigned, consumed, untouched = {}, set(), set()
  for path in flatten(wanted):
    for i, (regex, template) in enumerate(rules):
      if match := re.fullmatch(regex, path):
        used.add(i)
        consumed.add(path if template is None else match.expand(template))
        if template is not None:
          assigned[path] = _lookup(have, match.expand(template), path)
        break
    else:
      untouched.add(path)
  idle = [regex for i, (regex, _) in enumerate(rules) if i not in used]
  if require_all_rules_match and idle:
    raise ValueError(f'these rules of the assignment map match no wanted path: {idle}')
  gone = consumed - untouched
  kept = {path: leaf for path, leaf in have.items() if path not in gone}
  return unflatten({**kept, **assigned})


def remove_optimizer_state() -> list[Rule]:
  """Rules that load parameters only; step and optimizer state start anew."""
  return [('state.*', None)]


def _lookup(have, source, path):
  if source not in have:
    near = difflib.get_close_matches(source, have) or sorted(have)[:5]
    raise ValueError(f'{path!r} is to be read from {source!r}, which is not there; near: {near}')
  return have[source]
