"""Optimizers and the learning rate, section 4.1 and appendix F.

Adafactor for the base and Adam for super-resolution as in the paper; Muon for
small models on small machines, where each sample counts; SGD for tests, since
it does not amplify rounding.
"""

import dataclasses
import math
import re

import jax
import optax
import optax.contrib

from imagen_jax.config import checks
from imagen_jax.training import factored, stacking


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningRate:
  """Linear warm-up, constant, then (optionally) decay to zero."""

  peak: float = 1e-4
  warmup: int = 10_000  # steps
  decay_start: int | None = None  # step; None = stay constant, as the paper
  decay_steps: int = 1  # length of the decay, steps
  decay: str = 'linear'  # its shape: 'linear' or 'cosine'

  def __post_init__(self):
    if self.decay not in ('linear', 'cosine'):
      raise ValueError(f"decay is {self.decay!r}; 'linear' or 'cosine'")
    checks.require_within(
      self,
      peak=(0, math.inf),
      warmup=(0, math.inf),
      decay_start=(0, math.inf),
      decay_steps=(1, math.inf),
    )
    if self.decay_start is not None and self.decay_start < self.warmup:
      raise ValueError(
        f'decay_start {self.decay_start} lies inside the warm-up of '
        f'{self.warmup} steps; make it later'
      )

  def schedule(self):
    """The learning rate as a function of the step."""
    parts = [optax.linear_schedule(0.0, self.peak, max(1, self.warmup))]
    parts.append(optax.constant_schedule(self.peak))
    if self.decay_start is None:
      return optax.join_schedules(parts, [self.warmup])
    if self.decay == 'cosine':
      parts.append(optax.cosine_decay_schedule(self.peak, self.decay_steps))
    else:
      parts.append(optax.linear_schedule(self.peak, 0.0, self.decay_steps))
    return optax.join_schedules(parts, [self.warmup, self.decay_start])

  def scaled(self, factor):
    """The same shape with another peak."""
    return dataclasses.replace(self, peak=self.peak * factor)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam:
  """Adam as the paper's super-resolution stages use it (appendix F)."""

  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8

  def transform(self, learning_rate):
    return optax.adam(
      learning_rate.schedule(), b1=self.b1, b2=self.b2, eps=self.eps
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adafactor:
  """Adafactor, the paper's choice for the base, with the library defaults.

  Relative (parameter-scaled) steps are off unless asked for: with the paper's
  rate of 1e-4 they are very small.
  """

  multiply_by_parameter_scale: bool = False
  clipping_threshold: float = 1.0  # of each update's RMS
  decay_rate: float = 0.8

  def transform(self, learning_rate):
    return factored.without_placeholders(
      optax.adafactor(
        learning_rate.schedule(),
        multiply_by_parameter_scale=self.multiply_by_parameter_scale,
        clipping_threshold=self.clipping_threshold,
        decay_rate=self.decay_rate,
        min_dim_size_to_factor=128,
      )
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon:
  """Muon on matrices and convolution kernels, Adam on everything else.

  Not in the paper. On the embedded scenes it reaches a lower loss than Adam in
  the same time on a CPU, where samples are dear.
  """

  momentum: float = 0.95
  ns_steps: int = 5  # Newton-Schulz iterations; 3 halve the optimizer's time
  adam_factor: float = 0.075  # Adam's peak rate over Muon's
  weight_decay: float = 0.0  # of Muon's kernels: this x the rate per step
  # Paths whose leaves Adam takes: ends of the network and embeddings.
  adam_paths: tuple[str, ...] = ('input_conv', 'output_', 'embed', 'pool')

  def __post_init__(self):
    checks.check(self, 'Muon')
    for pattern in self.adam_paths:
      checks.require_regex(pattern, 'Muon.adam_paths')

  def _dimensions(self, params):
    """Which axes of each leaf form a matrix: all but the last against it."""

    def leaf(path, p):
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      adam = p.ndim < 2 or any(re.search(r, name) for r in self.adam_paths)
      if adam or not name.endswith('kernel'):
        return None
      return optax.contrib.MuonDimensionNumbers(
        reduction_axis=tuple(range(p.ndim - 1)), output_axis=p.ndim - 1
      )

    return jax.tree_util.tree_map_with_path(leaf, params)

  def transform(self, learning_rate):
    return optax.contrib.muon(
      learning_rate.schedule(),
      ns_steps=self.ns_steps,
      beta=self.momentum,
      adam_learning_rate=learning_rate.scaled(self.adam_factor).schedule(),
      weight_decay=self.weight_decay,
      muon_weight_dimension_numbers=self._dimensions,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD:
  """Plain gradient descent."""

  def transform(self, learning_rate):
    return optax.sgd(learning_rate.schedule())


# Those whose updates can be stacked: each leaf by itself.
LEAF_BY_LEAF = (Adam, Adafactor, SGD)


def make(optimizer, learning_rate, clip=1.0, is_frozen=None, stacked=False):
  """Clipping by global norm (None = off), then the optimizer.

  Leaves whose path `is_frozen` says yes to get neither; None = no leaf. With
  `stacked` gradients and parameters come as `stacking.Stacks`.
  """
  transform = optimizer.transform(learning_rate)
  if stacked:
    transform = stacking.each(transform)
  if clip is not None:
    transform = optax.chain(optax.clip_by_global_norm(clip), transform)
  if is_frozen is None:
    return transform
  return optax.partition(
    {False: transform, True: optax.set_to_zero()},
    lambda params: frozen_leaves(is_frozen, params),
  )


def frozen_leaves(is_frozen, params):
  """A tree of bools: the leaves that are not trained. None = none of them."""

  def leaf(path, _):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    return is_frozen is not None and is_frozen(name)

  return jax.tree_util.tree_map_with_path(leaf, params)


def global_norm(grads):
  """Euclidean norm of all gradients together."""
  return optax.tree.norm(grads)
