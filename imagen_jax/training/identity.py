"""What makes two training runs the same run, kept in every checkpoint.

A JSON-able dict; `checkpoints.resume` names the first setting that differs.
"""

import dataclasses

from imagen_jax import stages


def of(config, feed, batches):
  """What must not change between a checkpoint and the run resuming from it.

  Rates, dropout, averaging and the way of sampling may: a person who lowers
  the rate half-way means it. So may where the embeddings come from, inline or
  a cache of any dtype, as long as one encoder made them.
  """
  fields = {
    'stage': _trained_part(stages.to_json(config.stage)),
    'text': feed.fingerprint(),
    'data': _with_kind(config.data, dataclasses.asdict(config.data)),
    'pictures': dataclasses.asdict(config.pictures),
    'optimizer': type(config.optimizer).__name__,
    'batch_size': config.batch_size,
    'seed': config.seed,
  }
  if config.lora is not None:
    fields['lora'] = dataclasses.asdict(config.lora)
  if batches.fingerprint is not None:
    fields['examples'] = batches.fingerprint
  return fields


def _trained_part(fields):
  """A stage's JSON without its name and its way of sampling."""
  return {k: v for k, v in fields.items() if k not in ('name', 'sampling')}


def read(saved, config):
  """The identity in a checkpoint, with the defaults of newer fields.

  A checkpoint from before a setting existed was trained with its default; one
  from before the encoder's fingerprint was kept says nothing about that.
  """
  stage = stages.from_json({'name': '', **saved['stage']}, 'checkpoint')
  return {
    **saved,
    'stage': _trained_part(stages.to_json(stage)),
    'data': _with_kind(
      config.data, {**_defaults(config.data), **saved['data']}
    ),
    'pictures': {**_defaults(config.pictures), **saved['pictures']},
  }


def _with_kind(source, fields):
  return {'kind': type(source).__name__, **fields}


def _defaults(config):
  """Fields of a dataclass that have a default, with it."""
  return {
    f.name: f.default
    for f in dataclasses.fields(config)
    if f.default is not dataclasses.MISSING
  }
