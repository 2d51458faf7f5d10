"""What makes two training runs the same run, kept in every checkpoint.

A JSON-able dict; `checkpoints.resume` names the settings that differ.
"""

import dataclasses
import json

from imagen_jax import stages

_TOLD = 3  # settings that differ, in a message


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


def changes(there, here):
  """How a saved identity and that of a run differ, in words; '' = not at all.

  What only one of them has is of another release and not compared.
  """
  here, there = (json.loads(json.dumps(x)) for x in (here, there))
  common = here.keys() & there.keys()
  found = _differences(
    {k: there[k] for k in common}, {k: here[k] for k in common}
  )
  told = [_words(name, a, b) for name, a, b in found]
  if len(told) > _TOLD:
    told[_TOLD:] = [f'and {len(told) - _TOLD} more']
  return ', '.join(told)


def _words(name, there, here):
  if name == 'examples':  # digests, of which nobody knows what they mean
    return (
      'pictures or captions of its data were added, removed or changed since '
      f'it began (their digest is {there} there and {here} here; put the files '
      'back as they were to go on with it as it is)'
    )
  return f'{name} is {there} there and {here} here'


def _differences(there, here, name=''):
  """[(name, value there, value here)] of the leaves that differ."""
  if there == here:
    return []
  if not (isinstance(there, dict) and isinstance(here, dict)):
    return [(name, there, here)]
  return [
    found
    for key in sorted(there.keys() | here.keys())
    for found in _differences(
      there.get(key), here.get(key), f'{name}.{key}'.lstrip('.')
    )
  ]


def _with_kind(source, fields):
  return {'kind': type(source).__name__, **fields}


def _defaults(config):
  """Fields of a dataclass that have a default, with it."""
  return {
    f.name: f.default
    for f in dataclasses.fields(config)
    if f.default is not dataclasses.MISSING
  }
