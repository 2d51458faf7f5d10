"""What a network makes of the text, computed once and not at every step.

Not in the paper. The pooled text, its projections, and each attention layer's
keys and values of the tokens do not depend on the picture or its noise. A
sampler asks for them once; in training, where each text is seen once, they are
computed inside the units that use them.

  text [b, l, d], mask [b, l] -> TextContext
"""

from typing import NamedTuple

import jax

PART = 'text'  # of an `execution.Unit`: its `layers.TextKeysValues`


class TextContext(NamedTuple):
  """Takes the place of the text in a call of the network that made it."""

  pooled: jax.Array  # [b, e], part of the embedding
  # Name of a `layers.TextKeysValues` -> keys, values [b, l, heads, k].
  keys_values: dict


def apply(network, module, *inputs):
  """What a named submodule of a bound network with parameters gives."""
  params = network.variables['params'][module.name]
  if network.execution.use is not None:
    params = network.execution.use(module.name, params)
  return module.apply({'params': params}, *inputs)


def keys_values(network, units, text):
  """Of all units that attend to the text [b, l, d]."""
  parts = [unit.parts[PART] for unit in units if PART in unit.parts]
  return {
    name: apply(network, module.clone(name=name), text)
    for name, module in parts
  }


def known(units, text):
  """The keys and values of each unit, None where they are still to be made."""
  if not isinstance(text, TextContext):
    return [None] * len(units)
  return [
    text.keys_values[unit.parts[PART][0]] if PART in unit.parts else None
    for unit in units
  ]
