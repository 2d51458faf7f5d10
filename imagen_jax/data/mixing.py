"""Several sources in fixed shares; the paper trains on two sets (section 4.1).

Position p of the mixture is position q of one of its parts, found by
arithmetic alone: among the first p positions part j has stood floor(p x w_j)
times. So every batch has its shares to within one example, each part is gone
through in its own order, and any position is found at once.

  Mixed(parts, weights).row(position, pictures, seed)
"""

import fractions

from imagen_jax.data import pipeline, shuffling

_DENOMINATOR = 10**6  # weights are fractions of at most this


class Mixed:
  """The opened parts of a mixture."""

  def __init__(self, parts, weights):
    self._parts = [pipeline.drawn_in_order(part) for part in parts]
    self._named = list(parts)
    self._shares = shares(weights)
    self.forward_only = any(
      getattr(part, 'forward_only', False) for part in self._parts
    )

  @property
  def fingerprint(self):
    """Those of the parts."""
    return [getattr(part, 'fingerprint', None) for part in self._named]

  def rejected(self):
    """Those of the parts, one after another."""
    for part in self._named:
      yield from getattr(part, 'rejected', list)()

  def check(self, pictures):
    for part in self._parts:
      part.check(pictures)

  def row(self, position, pictures, seed):
    part, place = locate(position, self._shares)
    # Parts of equal length must not go through equal permutations.
    own = shuffling.fold(seed, part)
    return self._parts[part].row(place, pictures, own)

  def caption(self, i):
    part, place = locate(i, self._shares)
    return self._named[part].caption(place)

  def example(self, i, resolution):
    part, place = locate(i, self._shares)
    return self._named[part].example(place, resolution)


def shares(weights) -> list[fractions.Fraction]:
  """Of each part, its share of what the parts before it leave."""
  exact = [
    fractions.Fraction(w).limit_denominator(_DENOMINATOR) for w in weights
  ]
  if not exact or min(exact) <= 0:
    raise ValueError(
      f'Mixture.weights are {tuple(weights)}; each must be above 0'
    )
  return [w / sum(exact[i:]) for i, w in enumerate(exact)]


def locate(position: int, left: list[fractions.Fraction]) -> tuple[int, int]:
  """(part, position within it) of a position of the mixture."""
  for part, share in enumerate(left):
    before = position * share.numerator // share.denominator
    if (position + 1) * share.numerator // share.denominator > before:
      return part, before
    position -= before
  raise AssertionError('the last part takes all that is left')
