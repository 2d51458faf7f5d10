"""Facts about what an evaluation keeps: kills and other settings."""

import pytest

from imagen_jax.evaluation import records


def test_a_directory_belongs_to_one_setting(tmp_path):
  out = tmp_path / 'out'
  records.claim(out, {'cascade': 'abc', 'steps': (8, 4)})
  records.claim(out, {'cascade': 'abc', 'steps': (8, 4)})
  with pytest.raises(ValueError, match="cascade 'abc', not 'def'; give"):
    records.claim(out, {'cascade': 'def', 'steps': (8, 4)})
  with pytest.raises(ValueError, match=r'steps \[8, 4\], not \[8, 8\]'):
    records.claim(out, {'cascade': 'abc', 'steps': (8, 8)})


def test_a_line_cut_off_by_a_kill_costs_only_itself(tmp_path):
  path = tmp_path / 'test_iid.jsonl'
  assert records.read(path) == {}
  records.append(path, {'index': 3, 'x': 1})
  with open(path, 'a') as f:
    f.write('{"index": 4, "x')
  records.append(path, {'index': 5, 'x': 2})
  records.append(path, {'index': 3, 'x': 9})
  assert records.read(path) == {
    3: {'index': 3, 'x': 9},
    5: {'index': 5, 'x': 2},
  }
