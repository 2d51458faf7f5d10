"""The roofline by hand, and the table that it goes into."""

import numpy as np

from imagen_jax.parallel import accelerators
from imagen_jax.planning import estimates, report

CHIP = accelerators.Accelerator(
  name='slide rule',
  peak_flops=100.0,
  memory=1000,
  memory_rate=10.0,
  link_rate=4.0,
)


def _work(**changes):
  fields = {
    'chip': CHIP,
    'chips': 2,
    'images': 8,
    'model_flops': 600.0,
    'computed_flops': 800.0,
    'moved': 30.0,
    'sent': 6.0,
    'xla': 5.0,
  }
  return estimates.Work(**(fields | changes))


def test_roofline_by_hand():
  assert estimates.seconds(_work()) == {
    'products': 4.0,
    'memory': 3.0,
    'links': 3.0,
    'overlapped': 4.0,
    'in turn': 7.0,
    'xla': 5.0,
  }


def test_figures_by_hand():
  found = estimates.all_figures(_work())['in turn']
  assert found['images_per_second'] == 8 / 7
  np.testing.assert_allclose(found['peak_share'], 600 / 7 / 200)
  np.testing.assert_allclose(
    found['paper_days'], 2_500_000 * 2048 / (8 / 7) / 86_400
  )


def test_an_estimate_that_cannot_be_is_left_out():
  assert 'xla' not in estimates.all_figures(_work(xla=-0.3))
  assert 'xla' not in estimates.all_figures(_work(xla=None))


def test_table_has_every_number():
  plan = {
    'name': 'tiny', 'parameters': 1234567, 'batch': 8, 'topology': 'v5e:1x2',
    'chips': 2, 'chip': 'slide rule', 'fits': True, 'compile_seconds': 3.2,
    'level': 'quick', 'mesh': {'data': 1, 'fsdp': 2, 'tensor': 1}, 'hbm': 16e9,
    'compute': {'remat': 'blocks', 'micro_batches': 2, 'scan': True},
    'memory': {
      'parameters': 1e9, 'ema': 1e9, 'optimizer': 2e9, 'batch': 5e8,
      'temporaries': 3e9, 'program': 1e8, 'peak': 8e9,
    },
    'flops': {'model': 6e12, 'computed': 8e12}, 'moved': 3e9, 'sent': 6e9,
    'collectives': [
      {'kind': 'all-gather', 'group': 2, 'count': 5, 'size': 2e9, 'sent': 1e9}
    ],
    'seconds': estimates.seconds(_work()),
    'estimates': estimates.all_figures(_work()),
  }  # fmt: skip
  text = '\n'.join(report.table(plan))
  for said in (
    '1,234,567 parameters, batch 8 on v5e:1x2 (2 x slide rule)',
    'mesh data=1 x fsdp=2 x tensor=1, remat blocks, micro-batches 2',
    'of 16.00 GB HBM',
    '6.000 T',
    '50%',
    '(+33%)',
    'all-gather',
    "XLA's own",
  ):
    assert said in text, said
  plan |= {'fits': False, 'problem': 'needs 20 GB'}
  assert 'DOES NOT FIT: needs 20 GB' in '\n'.join(report.table(plan))
