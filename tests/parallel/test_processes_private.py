"""A release of JAX without the private modules that several processes need."""

import argparse
import sys

import jax
import pytest

from imagen_jax.parallel import processes

PRIVATE = ('jax._src.clusters', 'jax._src.distributed')


@pytest.fixture
def without(monkeypatch):
  """Those modules are gone; what JAX is asked to join is noted."""
  asked = []
  for name in PRIVATE:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(jax._src, name.rpartition('.')[2], raising=False)

  def initialize(**settings):
    asked.append(settings)
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  return asked


def _args():
  parser = argparse.ArgumentParser()
  processes.add_flags(parser)
  return parser.parse_args(['--join_timeout=7'])


def test_the_public_way_finds_that_there_is_one_process(without):
  processes.join(_args())
  assert [settings['initialization_timeout'] for settings in without] == [7]
  assert processes.is_first() and processes.coordinator() is None


def test_the_public_way_joins_where_there_are_several(without, monkeypatch):
  joined = []
  monkeypatch.setattr(jax.distributed, 'initialize', lambda **_: None)
  monkeypatch.setattr(processes, '_joined', lambda: joined.append(True))
  processes.join(_args())
  assert joined == [True]


def test_several_processes_are_told_what_is_missing(without, monkeypatch):
  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
  with pytest.raises(ValueError, match='install a jax of before') as caught:
    processes.coordinator()
  assert '\n' not in str(caught.value)
