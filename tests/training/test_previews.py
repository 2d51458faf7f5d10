"""Previews are a row per caption, with the feed's embeddings."""

import numpy as np
from PIL import Image

from imagen_jax.training import previews
from tests.support import full_disk, tiny_cascade, tiny_job


class Feed:
  """Stands where an encoder or a cache stands."""

  def encode(self, captions):
    self.captions = list(captions)
    shape = len(captions), tiny_cascade.LENGTH, tiny_cascade.WIDTH
    return np.zeros(shape, np.float32), np.ones(shape[:2], bool)


def test_captions_of_the_split_are_drawn(tmp_path):
  stage, feed = tiny_cascade.stage(8), Feed()
  drawn = previews.Previews(stage, tiny_job.Source(), feed, 2, tmp_path)
  assert feed.captions == list(tiny_cascade.CAPTIONS[:2])
  drawn.draw(7, tiny_cascade.random_params(stage))
  with Image.open(tmp_path / 'samples' / 'step_00000007.png') as picture:
    assert picture.height > 2 * 8


def test_a_full_disk_ends_no_run(tmp_path, capsys):
  stage = tiny_cascade.stage(8)
  drawn = previews.Previews(stage, tiny_job.Source(), Feed(), 2, tmp_path)
  with full_disk.beyond(10):
    drawn.draw(7, tiny_cascade.random_params(stage))
  said = capsys.readouterr().err
  assert said.startswith('warning: the pictures of step 7 are not in ')
  assert said.count('\n') == 1 and 'free space there' in said
  assert not list((tmp_path / 'samples').glob('*.png'))
