"""Pictures of fixed captions, drawn as training goes on."""

import pathlib
import sys

import numpy as np

from imagen_jax.data import boxes
from imagen_jax.files import pictures, weights
from imagen_jax.sampling import bundles, stage_sampler

CAPTIONS = 'captions.json'  # beside the sheets


class Previews:
  """Draws the first captions of the validation split.

  Args:
    stage: the `stages.Stage` in training.
    source: the validation split.
    feed: of `text.feeds`; gives the captions' embeddings.
    n: captions.
    workdir: where `samples/` goes.
  """

  def __init__(self, stage, source, feed, n, workdir):
    self._stage = stage
    self._directory = pathlib.Path(workdir) / 'samples'
    self._captions = [source.caption(i) for i in range(n)]
    text, mask = feed.encode(self._captions)
    low_res = placed = None
    if stage.low_res is not None:
      rows = [source.example(i, stage.low_res) for i in range(n)]
      low_res = np.stack([row['image'] for row in rows])
    if stage.layout is not None:
      rows = [source.example(i, stage.resolution) for i in range(n)]
      placed = np.stack([boxes.of_example(stage.layout, row) for row in rows])
    self._conditions = bundles.Conditions(
      text=text, mask=mask, low_res=low_res, boxes=placed
    )

  def draw(self, step, params):
    """Writes samples/step_N.png, a row per caption, and the captions."""
    images = stage_sampler.draw(
      self._stage,
      params,
      self._stage.sampling,
      self._conditions,
      bundles.Seeds(seed=0, index=np.zeros(len(self._captions), np.int32)),
    )
    try:
      self._write(step, images)
    except OSError as e:  # they are for looking on: the run goes on
      print(
        f'warning: the pictures of step {step} are not in {self._directory}: '
        f'{e.strerror or e}; free space there for the next ones',
        file=sys.stderr,
        flush=True,
      )

  def _write(self, step, images):
    self._directory.mkdir(exist_ok=True)
    # Small pictures leave no room for them on the sheet.
    weights.save_json(self._directory / CAPTIONS, self._captions)
    sheet = pictures.Sheet(self._captions, 1, self._stage.resolution)
    for row, image in enumerate(images):
      sheet.add(row, 0, image)
    sheet.write(self._directory / f'step_{step:08d}.png')
