"""A task of the real seqio is read; `test_sequential` has a stand-in."""

import dataclasses

import numpy as np
import pytest

from imagen_jax.data import sources
from tests.support import sets


@pytest.fixture(scope='module')
def registered(tmp_path_factory):
  """A task of twelve pictures, three of them for validation."""
  pytest.importorskip('seqio')
  root = sets.folder(tmp_path_factory.mktemp('seqio') / 'set')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('PICTURES', str(root))
    from tests.support import seqio_pictures

    assert seqio_pictures
    yield sources.SeqioTask(task='pictures', reading=sets.LOOSE)


def test_pictures_and_captions_are_those_of_the_task(registered):
  batch = sets.batches(registered.open('train')).batch(0)
  assert batch['image'].shape[0] == 4 and batch['image'].dtype == np.uint8
  again = sets.batches(registered.open('train')).batch(0)
  np.testing.assert_array_equal(batch['image'], again['image'])
  validation = sets.batches(registered.open('validation'), size=3).batch(0)
  assert len(validation['image']) == 3


def test_what_is_not_registered_is_one_line(registered):
  for change, said in (
    ({'task': 'other'}, 'seqio:other is not registered'),
    ({'train': 'test'}, "seqio:pictures has no split 'test'"),
  ):
    source = dataclasses.replace(registered, **change)
    with pytest.raises(ValueError, match=said) as caught:
      source.open('train')
    assert '\n' not in str(caught.value)
