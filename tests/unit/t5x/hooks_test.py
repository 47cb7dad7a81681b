import io
import types

import jax.numpy as jnp
import pytest

from t5x import hooks, metrics, trainer
from t5x.train_state import TrainState

STATE = TrainState(jnp.int32(0), {'w': jnp.float32(1)}, ())


class FakeLog:
  def __init__(self):
    self.rows = []

  def write(self, collection, step, values):
    self.rows.append((collection, step, dict(values)))


def report(loss, bad=0.0):
  return {
    'loss': metrics.Mean.of(jnp.float32(loss)), trainer.NOT_FINITE: metrics.Sum(jnp.float32(bad))
  }  # fmt: skip


def feed(hook, losses, first=1, bad_at=None):
  for step, loss in enumerate(losses, first):
    hook.after_step(step, STATE, report(loss, bad=step == bad_at))


@pytest.fixture
def clock(monkeypatch):
  """A clock that a test moves."""
  now = types.SimpleNamespace(time=100.0)
  monkeypatch.setattr(hooks.time, 'monotonic', lambda: now.time)
  return now


# ---- Reports -------------------------------------------------------------------------------------
def test_a_report_is_the_mean_of_its_window():
  log = FakeLog()
  stats = hooks.StatsHook(2, batch_size=8, log=log)
  feed(stats, [1, 3, 10, 20, 7])
  stats.finish()
  assert [(step, values['loss']) for _, step, values in log.rows] == [(2, 2), (4, 15), (5, 7)]
  values = log.rows[0][2]
  assert trainer.NOT_FINITE not in values
  assert values['timing/examples_per_second'] == 8 * values['timing/steps_per_second']


def test_a_report_is_written_after_the_next_step_has_been_started():
  log = FakeLog()
  stats = hooks.StatsHook(2, batch_size=8, log=log)
  feed(stats, [1, 3])
  assert not log.rows
  feed(stats, [5], first=3)
  assert len(log.rows) == 1


def test_a_resumed_run_reports_at_the_same_steps():
  log = FakeLog()
  stats = hooks.StatsHook(4, batch_size=8, log=log)
  feed(stats, [1, 1, 1, 1], first=3)
  stats.finish()
  assert [step for _, step, _ in log.rows] == [4, 6]


def test_the_speed_leaves_out_what_is_no_step(clock):
  log = FakeLog()
  stats = hooks.StatsHook(2, batch_size=8, log=log)
  for step in (1, 2):
    clock.time += 1.0
    feed(stats, [1], first=step)
    clock.time += 30.0
    stats.leave_out(30.0)
  stats.finish()
  assert log.rows[0][2]['timing/steps_per_second'] == 1


def test_a_note_goes_into_the_next_report_only():
  log = FakeLog()
  stats = hooks.StatsHook(1, batch_size=8, log=log)
  stats.note('timing/compilation_seconds', 2.5)
  feed(stats, [1, 1])
  stats.finish()
  assert [v.get('timing/compilation_seconds') for *_, v in log.rows] == [2.5, None]


def test_what_is_not_finite_ends_the_run_with_the_range_of_steps():
  stats = hooks.StatsHook(4, batch_size=8, log=FakeLog())
  feed(stats, [1] * 8, bad_at=7)
  with pytest.raises(FloatingPointError, match='not finite in 1 of the steps 5 to 8; the last'):
    feed(stats, [1], first=9)


def test_a_check_finds_what_is_not_finite_before_its_window_is_full():
  stats = hooks.StatsHook(100, batch_size=8, log=FakeLog())
  feed(stats, [1, 1])
  stats.check()
  feed(stats, [1], first=3, bad_at=3)
  with pytest.raises(FloatingPointError, match='in 1 of the steps 1 to 3'):
    stats.check()


def test_what_is_not_finite_may_be_allowed():
  log = FakeLog()
  stats = hooks.StatsHook(1, batch_size=8, log=log, abort_when_not_finite=False)
  feed(stats, [1, 1], bad_at=1)
  stats.finish()
  assert len(log.rows) == 2


# ---- Evaluation ----------------------------------------------------------------------------------
def test_evaluation_comes_every_period_and_at_the_end():
  log, seen = FakeLog(), []

  def evaluate(params, step):
    seen.append((float(params['w']), step))
    return {'vqa': {'accuracy': step / 10}}

  feed(hooks.EvalHook(3, range(1, 8), {'inference_eval': evaluate}, log), [0] * 7)
  assert seen == [(1, 3), (1, 6), (1, 7)]
  assert log.rows[0] == ('inference_eval/vqa', 3, {'accuracy': 0.3})
  assert log.rows[1][:2] == ('train', 3)
  assert list(log.rows[1][2]) == ['timing/evaluate_seconds']


def test_a_period_of_zero_evaluates_never():
  never = lambda params, step: pytest.fail('evaluated')
  feed(hooks.EvalHook(0, range(1, 4), {'inference_eval': never}, FakeLog()), [0] * 3)


# ---- Progress ------------------------------------------------------------------------------------
class Terminal(io.StringIO):
  def isatty(self):
    return True


def draw(bar, clock, seconds_a_step, losses, first=1):
  for step, loss in enumerate(losses, first):
    clock.time += seconds_a_step
    bar.after_step(step, STATE, report(loss))
  bar.close()


def test_a_terminal_gets_one_line_that_is_redrawn(clock):
  stream = Terminal()
  bar = hooks.ProgressBar(range(1, 5), batch_size=10, stream=stream)
  draw(bar, clock, 2.0, [4.0, 3.0, 2.0, 1.0])
  drawn = stream.getvalue()
  assert drawn.count('\n') == 1
  assert drawn.endswith('\n')
  first, *_, last = drawn.strip().split('\r')
  assert first.startswith(
    'step 1/4 [#####...............] loss 4.000  5.0 examples/s  0:00:06 left'
  )
  assert last.startswith('step 4/4 [####################] loss 1.000  5.0 examples/s  0:00:00 left')


def test_a_file_gets_whole_lines_now_and_then(clock):
  stream = io.StringIO()
  bar = hooks.ProgressBar(range(1, 101), batch_size=10, stream=stream)
  draw(bar, clock, 1.0, [2.0] * 100)
  lines = stream.getvalue().splitlines()
  assert [line.split()[1] for line in lines] == ['30/100', '60/100', '90/100', '100/100']
  assert '\r' not in stream.getvalue()


def test_the_speed_of_a_resumed_run_counts_its_own_steps(clock):
  stream = io.StringIO()
  bar = hooks.ProgressBar(range(1001, 1011), batch_size=2, stream=stream, seconds_between=0)
  draw(bar, clock, 1.0, [1.0] * 5, first=1001)
  assert '2.0 examples/s  0:00:05 left' in stream.getvalue().splitlines()[-1]


# ---- Profile -------------------------------------------------------------------------------------
def test_a_profile_covers_the_steps_asked_for(monkeypatch):
  calls = []
  monkeypatch.setattr(hooks.jax.profiler, 'start_trace', lambda folder: calls.append(folder))
  monkeypatch.setattr(hooks.jax.profiler, 'stop_trace', lambda: calls.append('stop'))
  hook = hooks.ProfileHook(2, 4, 'folder')
  for step in range(1, 6):
    calls.append(step)
    hook.after_step(step, STATE, report(0))
  hook.close()
  assert calls == [1, 2, 'folder', 3, 4, 'stop', 5]


def test_a_run_that_ends_inside_the_profile_still_writes_it(monkeypatch):
  calls = []
  monkeypatch.setattr(hooks.jax.profiler, 'start_trace', lambda folder: calls.append(folder))
  monkeypatch.setattr(hooks.jax.profiler, 'stop_trace', lambda: calls.append('stop'))
  hook = hooks.ProfileHook(1, 4, 'folder')
  hook.after_step(1, STATE, report(0))
  hook.close()
  assert calls == ['folder', 'stop']


def test_a_profile_of_no_step_is_refused():
  with pytest.raises(ValueError, match=r'profile_steps=\(4, 4\)'):
    hooks.ProfileHook(4, 4, 'folder')
