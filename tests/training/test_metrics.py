"""Metrics survive crashes and resumed runs."""

import json
import sys
import types

import pytest

from imagen_jax.training import metrics, writers
from tests.support import full_disk


def _steps(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line)['step'] for line in lines]


def test_resumed_run_drops_the_rows_it_writes_again(tmp_path):
  log = metrics.Metrics(tmp_path, 0)
  for step in (1, 2, 3):
    log.write(step, loss=0.5)
  log.close()
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 4, "lo')  # cut short by a crash
  log = metrics.Metrics(tmp_path, 2)
  log.write(3, loss=0.25)
  log.close()
  assert _steps(tmp_path) == [1, 2, 3]


def test_lines_that_are_no_rows_are_counted(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(
    b'{"step": 1, "loss": 0.5}\n\n[1]\n{"loss": 2}\n{"step": true}\n'
    b'\xff\xfe\n{"step": 2, "loss": null}\n{"step": 3, "lo'
  )
  rows, broken = metrics.read(path)
  assert rows == [{'step': 1, 'loss': 0.5}, {'step': 2, 'loss': None}]
  assert broken == 5


@pytest.mark.parametrize(
  ('text', 'value'),
  [
    ('Infinity', None),
    ('-Infinity', None),
    ('NaN', None),
    ('1e999', None),
    ('9' * 400, None),
    ('"x"', 'x'),
    ('3', 3),
    ('1e300', 1e300),
  ],
)
def test_a_number_that_no_float_can_hold_is_none(tmp_path, text, value):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(f'{{"step": 1, "loss": {text}}}\n')
  assert metrics.read(path) == ([{'step': 1, 'loss': value}], 0)


@pytest.mark.parametrize(
  'line',
  [
    '{"step": ' + '9' * 400 + '}',
    '{"step": ' + '9' * 5000 + '}',  # more than Python takes for a number
    '{"step": -1}',
    '{"step": Infinity}',
    '{"step": 1, "x": ' + '[' * 20_000,
    '{"step": 1, "x": "' + 'x' * 200_000 + '"}',
  ],
)
def test_a_line_without_bounds_is_no_row(tmp_path, line):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
  assert metrics.read(path) == ([{'step': 1}, {'step': 2}], 1)


def test_a_full_disk_ends_no_run(tmp_path, capsys):
  log = metrics.Metrics(tmp_path, 0)
  log.write(1, loss=0.5)
  with full_disk.beyond(60):
    log.write(2, loss=0.25)
  assert _steps(tmp_path) == [1]
  assert f'{tmp_path}/metrics.jsonl cannot be written' in (
    capsys.readouterr().err
  )
  log.write(3, loss=0.125)
  log.close()
  assert _steps(tmp_path) == [1, 2, 3]


def test_rows_that_cannot_be_dropped_are_one_line(tmp_path, monkeypatch):
  log = metrics.Metrics(tmp_path, 0)
  log.write(1, loss=0.5)
  log.write(2, loss=0.5)
  log.close()
  with full_disk.beyond(10):
    with pytest.raises(ValueError, match=r'metrics.jsonl cannot be written: '):
      metrics.Metrics(tmp_path, 1)
  assert _steps(tmp_path) == [1, 2]


def test_a_writer_that_fails_is_told_once(tmp_path, monkeypatch, capsys):
  class Writer:
    def write_scalars(self, step, scalars):
      raise RuntimeError('no space left')

    flush = None

  guarded = writers.Guarded('TensorBoard', Writer())
  monkeypatch.setattr(writers, 'tensorboard', lambda workdir: guarded)
  log = metrics.Metrics(tmp_path, 0)
  log.write(1, loss=0.5)
  log.write(2, loss=0.5)
  log.close()
  assert capsys.readouterr().err == (
    'warning: TensorBoard cannot be written: no space left; metrics.jsonl has '
    'all of it\n'
  )
  assert _steps(tmp_path) == [1, 2]


class _Wandb(types.ModuleType):
  """A stand-in that notes what it is asked."""

  def __init__(self, fails=None):
    super().__init__('wandb')
    self.starts, self.rows, self.fails = [], [], fails

  def init(self, **settings):
    if self.fails:
      raise self.fails
    self.starts.append(settings)
    return types.SimpleNamespace(
      log=self.rows.append,
      define_metric=lambda *args, **more: self.rows.append((args, more)),
      finish=lambda: self.rows.append('finished'),
    )


def test_weights_and_biases_gets_the_scalars_too(tmp_path, monkeypatch):
  fake = _Wandb()
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  for start in (0, 1):
    log = metrics.Metrics(tmp_path, start, wandb='imagen')
    log.write(start + 1, loss=0.5)
    log.close()
  first, again = fake.starts
  assert first == again  # the same run, by an id of the work directory
  assert first['project'] == 'imagen' and first['resume'] == 'allow'
  assert first['name'] == tmp_path.name and first['dir'] == str(tmp_path)
  assert fake.rows[:3] == [
    (('*',), {'step_metric': 'step'}),
    {'step': 1, 'loss': 0.5},
    'finished',
  ]
  assert _steps(tmp_path) == [1, 2]


def test_weights_and_biases_that_cannot_begin_is_one_line(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(ValueError, match='not installed: pip install wandb, or'):
    metrics.Metrics(tmp_path, 0, wandb='imagen')
  fake = _Wandb(fails=RuntimeError('no API key\nmore'))
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  with pytest.raises(ValueError, match='no API key; `wandb login`') as caught:
    metrics.Metrics(tmp_path, 0, wandb='imagen')
  assert '\n' not in str(caught.value)


def test_progress_line(capsys):
  progress = metrics.Progress(0, 10, 32)
  progress.report(5, loss=0.125)
  said = capsys.readouterr().err
  assert 'step 5/10  loss 0.125' in said
  assert 'images/s' in said and 'left' in said
  assert progress.is_due(10, 3) and progress.is_due(9, 3)
  assert not progress.is_due(8, 3)
  assert progress.is_due(10, 0) and not progress.is_due(8, 0)


def test_pauses_do_not_count_as_training(monkeypatch, capsys):
  now = [0.0]
  monkeypatch.setattr(metrics.time, 'monotonic', lambda: now[0])
  progress = metrics.Progress(0, 100, 16)
  now[0] = 30.0  # 30 steps of a second each
  progress.note(30, 'validation loss 0.5')
  now[0] = 90.0  # a minute of saving
  progress.restart_clock(30)
  now[0] = 110.0  # and 20 more steps
  assert progress.report(50, loss=0.5) == pytest.approx(16.0)
  assert 'step 30  validation loss 0.5' in capsys.readouterr().err


@pytest.mark.parametrize('loss', [float('nan'), float('inf')])
def test_metrics_must_be_finite(loss):
  metrics.require_finite({'loss': 0.1}, 1)
  with pytest.raises(ValueError, match='at step 7; nothing of it was saved'):
    metrics.require_finite({'loss': loss}, 7)
  # The update of this very step: the loss would show it one step later.
  with pytest.raises(ValueError, match='grad_norm is .* at step 7'):
    metrics.require_finite({'loss': 0.1, 'grad_norm': loss}, 7)


def test_tensorboard_gets_the_scalars_and_no_gpu(tmp_path, monkeypatch):
  rows, hidden = [], []

  class Writer:
    def __init__(self, directory):
      assert directory == str(tmp_path)

    def write_scalars(self, step, scalars):
      rows.append((step, scalars))

    def flush(self):
      rows.append('flushed')

  tf = types.ModuleType('tensorflow')
  tf.config = types.SimpleNamespace(
    set_visible_devices=lambda *args: hidden.append(args)
  )
  clu = types.ModuleType('clu')
  clu.metric_writers = types.SimpleNamespace(SummaryWriter=Writer)
  monkeypatch.setitem(sys.modules, 'tensorflow', tf)
  monkeypatch.setitem(sys.modules, 'clu', clu)
  log = metrics.Metrics(tmp_path, 0)
  log.write(3, loss=0.5)
  log.close()
  assert rows == [(3, {'loss': 0.5}), 'flushed']
  assert hidden == [([], 'GPU')]
