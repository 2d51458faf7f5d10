"""What a training job is fed with: its batches, and the text of them.

A caption becomes text [b, l, d] by a frozen encoder inside the step, or was
encoded before and comes from a cache.
"""

import pathlib

from imagen_jax.data import pipeline
from imagen_jax.parallel import partitioning
from imagen_jax.text import cache_reader, feeds
from imagen_jax.text import checkpoints as text_checkpoints

SHIPPED_TEXT = (
  pathlib.Path(__file__).parents[1] / 'pretrained' / 'scenes' / 'text'
)


def open_batches(config, feed, split, mesh=None, bad=None):
  """The batches of a split: what of them this process feeds to the mesh.

  `bad` is the quarantine where useless examples are noted.
  """
  rows = mesh and partitioning.local_rows(config.batch_size, mesh)
  return pipeline.Batches(
    config.data.open(split),
    feed,
    config.pictures,
    config.batch_size,
    seed=config.seed,
    rows=rows,
    quarantine=bad,
    layout=config.stage.layout,
  )


def open_feed(config):
  """Where the text comes from: a `feeds.Inline` or `feeds.Cached`.

  Raises ValueError where it was made for, or by, something else.
  """
  stage, directory = config.stage, config.text or SHIPPED_TEXT
  expected = stage.text_width, stage.max_length
  if config.cache is None:
    encoder = text_checkpoints.load_encoder(
      directory, usual_length=stage.max_length
    )
    found = encoder.config.width, encoder.tokenizer.max_length
    feeds.check_fits(stage.name, expected, found, directory)
    return feeds.Inline(encoder=encoder)
  reader = cache_reader.Reader(config.cache)
  if config.encoder_id is not None:
    feeds.check_id(reader, config.encoder_id)
  else:
    made = reader.manifest
    encoder = text_checkpoints.load_encoder(
      directory, max_length=made.max_length, dtype=made.encoder['dtype']
    )
    feeds.check_made_by(reader, encoder, directory)
  found = reader.manifest.width, reader.manifest.max_length
  feeds.check_fits(stage.name, expected, found, config.cache)
  return feeds.Cached(reader=reader)


def frozen_encoder(feed, mesh):
  """(config, parameters on the devices) for the step; a cache needs none."""
  if isinstance(feed, feeds.Cached):
    return None, {}
  params = feed.encoder.params
  # A large encoder is spread over the devices like the network.
  shardings = partitioning.state_shardings(params, mesh)
  return feed.encoder.config, partitioning.put_whole(params, shardings)
