"""TensorBoard's files hold what was written, by the real libraries."""

import sys
import types

import pytest

from imagen_jax.training import metrics, writers


def test_tensorboard_reads_the_scalars(tmp_path):
  tf = pytest.importorskip('tensorflow')
  pytest.importorskip('clu')
  pytest.importorskip('tensorboard')
  log = metrics.Metrics(tmp_path, 0)
  for step in (1, 2):
    log.write(step, loss=step / 4)
  log.close()
  (path,) = map(str, tmp_path.glob('events.*'))
  found = {
    (event.step, value.tag): float(tf.make_ndarray(value.tensor))
    for event in tf.compat.v1.train.summary_iterator(path)
    for value in event.summary.value
  }
  assert found == {(1, 'loss'): 0.25, (2, 'loss'): 0.5}


def test_a_library_that_clu_lacks_is_told(tmp_path, monkeypatch, capsys):
  """TensorFlow came with it once; without a word there would be no curves."""
  monkeypatch.setitem(sys.modules, 'tensorflow', types.ModuleType('tensorflow'))
  monkeypatch.setitem(sys.modules, 'clu', None)
  assert writers.tensorboard(tmp_path) is None
  assert capsys.readouterr().err == ''  # nobody asked for curves
  clu = types.ModuleType('clu')

  def missing(name):
    raise ModuleNotFoundError(
      "No module named 'tensorboard'", name='tensorboard'
    )

  clu.__getattr__ = missing
  monkeypatch.setitem(sys.modules, 'clu', clu)
  assert writers.tensorboard(tmp_path) is None
  assert capsys.readouterr().err == (
    "note: no curves for TensorBoard: No module named 'tensorboard'; pip "
    'install tensorboard\n'
  )
