"""Each start of a run leaves a line of what it runs on."""

import json

import jax

from imagen_jax.training import hardware


def test_a_line_each_start(tmp_path):
  hardware.note(tmp_path, 0, jax.devices())
  hardware.note(tmp_path, 7, jax.devices()[:2])
  lines = (tmp_path / hardware.NAME).read_text().splitlines()
  first, second = map(json.loads, lines)
  assert (first['step'], second['step']) == (0, 7)
  assert (first['devices'], second['devices']) == (8, 2)
  assert first['device'] == first['platform'] == 'cpu'
  assert first['host'] and first['cores'] >= 1
  assert first['jax'] == jax.__version__
