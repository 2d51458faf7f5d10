"""What is odd in a run and what is not, each by a run that is made so."""

import json

import numpy as np
import pytest

from imagen_jax import doctor
from imagen_jax.diffusion import process
from imagen_jax.files import pictures
from imagen_jax.pages.run_report import diagnosis, runs
from imagen_jax.training import noise_levels, objective
from tests.support import zoo

CONFIG = """import __main__ as train
from imagen_jax import stages
stages.Stage.prediction = 'v'
stages.Stage.low_res = None
train.TrainConfig.batch_size = 64
train.TrainConfig.steps = 4000
train.TrainConfig.ema_decay = 0.99
"""
STEPS = np.arange(100, 3001, 100)
FALLING = 0.2 / np.sqrt(STEPS)


def _make(path, config=CONFIG, picture=None, **changes):
  """A run in which nothing is odd, but for what `changes` puts in its rows."""
  path.mkdir(parents=True, exist_ok=True)
  columns = {
    'loss': FALLING,
    'grad_norm': 0.1 + FALLING,
    'skipped': 0 * FALLING,
    'images_per_second': 20 + 0 * FALLING,
    'validation_loss': FALLING,
    'validation_caption_gap': 0.1 * FALLING,
    **{f'loss_logsnr_{n}': FALLING * 1e-3 for n in noise_levels.NAMES},
    **changes,
  }
  rows = [
    {'step': int(step)} | {name: column[i] for name, column in columns.items()}
    for i, step in enumerate(STEPS)
  ]
  lines = ''.join(json.dumps(row) + '\n' for row in rows)
  (path / 'metrics.jsonl').write_text(lines)
  (path / 'config.gin').write_text(config)
  if picture is None:
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 256, [40, 8, 3], np.uint8), 8, axis=1)
  (path / 'samples').mkdir(exist_ok=True)
  pictures.write_png(path / 'samples' / 'step_00003000.png', picture, {})
  return path


def _odd(path, **changes):
  findings = diagnosis.diagnose(runs.read(str(_make(path, **changes))))
  return {f.subject: f'{f.message} | {f.remedy}' for f in findings if f.odd}


def test_nothing_is_odd_in_a_good_run(tmp_path, capsys):
  assert _odd(tmp_path) == {}
  assert doctor.main([f'--workdir={tmp_path}']) == 0
  out = capsys.readouterr().out.splitlines()
  assert 'step 3,000 of 4,000, 192,000 pictures seen' in out[0]
  subjects = [line.split()[1].rstrip(':') for line in out[1:]]
  assert all(line.startswith('ok ') for line in out[1:])
  assert subjects == [
    'gradients',
    'loss',
    'noise',
    'captions',
    'validation',
    'average',
    'samples',
    'speed',
  ]


RISING = FALLING[::-1]
SPIKES = np.where(np.arange(30) % 10 == 9, 5.0, 0.1)
GREY = np.repeat(np.arange(0, 250, 5, dtype=np.uint8), 2)[None, :, None]


@pytest.mark.parametrize(
  ('subject', 'message', 'changes'),
  [
    ('gradients', '3 steps were skipped', {'skipped': STEPS > 2700}),
    ('gradients', 'norm grew from', {'grad_norm': STEPS / 100.0}),
    (
      'gradients',
      'at 3 reports, the last at step 3,000',
      {'grad_norm': SPIKES},
    ),
    ('loss', 'halve LearningRate.peak', {'loss': RISING}),
    (
      'noise levels',
      'logsnr above 10: 2 where a linear guess has',
      {'loss_logsnr_above_10': 2 + 0 * FALLING},
    ),
    (
      'captions',
      'the text is not heard',
      {'validation_caption_gap': 1e-4 * FALLING},
    ),
    (
      'validation',
      'learnt by heart',
      {'validation_loss': np.where(STEPS < 2000, FALLING, 2 * FALLING)},
    ),
    ('samples', 'blank', {'picture': np.full([40, 64, 3], 250, np.uint8)}),
    (
      'samples',
      'are grey',
      {'picture': np.broadcast_to(GREY, [40, 100, 3])},
    ),
    (
      'samples',
      'are noise',
      {
        'picture': np.random.default_rng(1).integers(
          0, 256, [40, 64, 3], np.uint8
        )
      },
    ),
    ('speed', 'was 20', {'images_per_second': np.where(STEPS < 2100, 20, 5)}),
    (
      'average',
      'lag behind',
      {'config': CONFIG.replace('0.99', '0.9999')},
    ),
  ],
)
def test_what_is_odd_is_told_with_a_remedy(tmp_path, subject, message, changes):
  changes = {
    name: value.tolist() if name not in ('config', 'picture') else value
    for name, value in changes.items()
  }
  found = _odd(tmp_path, **changes)
  assert set(found) == {subject}
  assert message in found[subject]


def test_a_loss_that_is_no_number_is_odd(tmp_path):
  losses = [*FALLING[:-1], None]
  assert 'not finite in 1 reports' in _odd(tmp_path, loss=losses)['gradients']


def test_weights_that_were_trained_before_may_rise(tmp_path):
  config = CONFIG + "train.TrainConfig.init_from = 'before'\n"
  rates = np.minimum(STEPS / 1000, 1)
  found = _odd(tmp_path, config=config, loss=RISING, learning_rate=rates)
  assert 'wait: it rises when' in found['loss']


@pytest.mark.parametrize('value', ["'64'", 'None', '-8', '[1]', '6.5'])
def test_settings_that_are_no_counts_are_not_known(tmp_path, capsys, value):
  config = CONFIG.replace('batch_size = 64', f'batch_size = {value}')
  path = _make(tmp_path, config=config + f'train.TrainConfig.steps = {value}\n')
  assert doctor.main([f'--workdir={path}']) == 0
  assert capsys.readouterr().out.startswith(f'{path}: step 3,000\n')


def test_nothing_is_said_of_what_was_not_measured(tmp_path):
  path = _make(tmp_path, validation_loss=0 * FALLING)
  rows = [
    json.loads(s) for s in (path / 'metrics.jsonl').read_text().split('\n') if s
  ]
  kept = [{k: v for k, v in row.items() if 'logsnr' not in k} for row in rows]
  (path / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, kept)))
  findings = diagnosis.diagnose(runs.read(str(path)))
  assert {f.subject for f in findings}.isdisjoint({'noise levels', 'captions'})


def test_a_sheet_that_cannot_be_read_is_told(tmp_path):
  _make(tmp_path)
  data = zoo.png_header(30_000, 30_000) + zoo.png_chunk(b'IDAT', b'')
  (tmp_path / 'samples' / 'step_00003001.png').write_bytes(data)
  findings = diagnosis.diagnose(runs.read(str(tmp_path)))
  assert 'step_00003001.png cannot be read, left out' in str(findings)
  assert not any(finding.odd for finding in findings)


def test_a_run_that_has_hardly_begun_is_not_blamed(tmp_path):
  _make(tmp_path, **{'loss_logsnr_above_10': 2 + 0 * FALLING})
  path = tmp_path / 'metrics.jsonl'
  path.write_text('\n'.join(path.read_text().splitlines()[:4]))
  findings = diagnosis.diagnose(runs.read(str(tmp_path)))
  assert not any(finding.odd for finding in findings)
  assert 'normal before step 500' in str(findings)


def test_a_reference_tells_what_is_worse_than_it(tmp_path, capsys):
  _make(tmp_path / 'good')
  _make(tmp_path / 'bad', **{'loss_logsnr_-3_0': 2e-3 * FALLING})
  flags = [
    f'--workdir={tmp_path / "bad"}',
    f'--reference={tmp_path / "good"}',
  ]
  assert doctor.main(flags) == 1
  (odd,) = [
    line for line in capsys.readouterr().out.splitlines() if 'odd' in line[:3]
  ]
  assert 'loss_logsnr_-3_0' in odd and 'after 192,000 pictures' in odd
  assert doctor.main([f'--workdir={tmp_path / "good"}', flags[1]]) == 0


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--workdir={0}/no'], 'error: --workdir={0}/no is no directory; give'),
    (['--workdir={0}'], 'error: --workdir={0} has no metrics.jsonl; give'),
    (
      ['--workdir={0}/run', '--reference={0}'],
      'error: --reference={0} has no metrics.jsonl; give',
    ),
  ],
)
def test_bad_input_is_one_line(tmp_path, capsys, flags, message):
  _make(tmp_path / 'run')
  assert doctor.main([flag.format(tmp_path) for flag in flags]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(message.format(tmp_path))


@pytest.mark.parametrize('kind', noise_levels.PREDICTIONS)
def test_the_linear_guess_is_the_loss_of_the_best_factor(kind):
  """Of Gaussian pixels, for which no guess is better."""
  rng = np.random.default_rng(0)
  x0, eps = rng.normal(size=[2, 1, 100, 100, 3]) * np.sqrt([0.5, 1.0]).reshape(
    2, 1, 1, 1, 1
  )
  for name, logsnr in (('-3_0', [-3.0, -1.5, 0.0]), ('3_6', [3.0, 4.5, 6.0])):
    losses = []
    for level in np.float32(logsnr):
      z = np.asarray(process.add_noise(x0, eps, level))
      guess = z * np.vdot(z, x0) / np.vdot(z, z)  # of x0
      prediction = {
        'x0': lambda g, z, _: g,
        'v': process.v_from_x0,
        'eps': process.eps_from_x0,
      }[kind](guess, z, level)
      loss = process.squared_error(prediction, x0, eps, level, kind)
      losses.append(float(loss[0] * objective.loss_weight(kind, level)))
    bound = noise_levels.linear_guess(kind, name)
    assert max(losses) == pytest.approx(bound, rel=0.02)
