"""Who does not answer is named; `test_train_commands` kills real processes."""

import time

import jax
import pytest

from imagen_jax.parallel import processes


class Store:
  """What the coordinator of a job keeps; `gone` once that has ended."""

  def __init__(self):
    self.texts, self.gone = {}, False

  def key_value_set(self, key, text, overwrite):
    if self.gone:
      raise jax.errors.JaxRuntimeError('UNAVAILABLE: Socket closed')
    self.texts[key] = text

  def key_value_dir_get(self, place):
    if self.gone:
      raise jax.errors.JaxRuntimeError('UNAVAILABLE: Socket closed')
    return [(k, v) for k, v in self.texts.items() if k.startswith(place)]


@pytest.fixture
def store(monkeypatch):
  """Of three processes, as the first sees it."""
  found = Store()
  monkeypatch.setattr(processes, 'coordinator', lambda: found)
  monkeypatch.setattr(processes, '_LOOKS', 0.01)
  monkeypatch.setattr(processes, '_PATIENCE', 0.3)
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  return found


def test_who_does_not_answer_is_absent(store):
  processes.answer()
  time.sleep(0.05)
  assert not store.texts, 'nobody has asked'
  store.texts['presence/here/2'] = ''
  before = time.monotonic()
  assert processes.absent() == [1]
  assert time.monotonic() - before > 0.25, 'it had its time'
  assert 'presence/here/0' in store.texts


def test_all_answer_at_once(store):
  store.texts |= {f'presence/here/{i}': '' for i in (1, 2)}
  before = time.monotonic()
  assert processes.absent() == []
  assert time.monotonic() - before < 0.25


def test_nobody_can_be_asked_when_the_first_is_gone(store):
  store.gone = True
  assert processes.absent() == [0]
  processes.told([0])


def test_the_first_stays_until_the_others_have_told(store, monkeypatch):
  monkeypatch.setattr(processes, '_LINGERS', 0.3)
  store.texts['presence/told/1'] = ''
  before = time.monotonic()
  processes.told([2])
  assert time.monotonic() - before < 0.2
  processes.told([])
  assert time.monotonic() - before > 0.25


@pytest.mark.parametrize(
  ('error', 'is_loss'),
  [
    (jax.errors.JaxRuntimeError('INTERNAL: Socket closed'), True),
    (ValueError('UNKNOWN: Gloo AllGather failed: Connection reset'), True),
    (ValueError('seed is 0 there and 1 here'), False),
    (OSError(28, 'No space left on device'), False),
  ],
)
def test_what_tells_of_a_loss(error, is_loss):
  assert processes.is_loss(error) == is_loss
