"""An entry of the table of sampling settings: what there is to say about one.

Checked, read from text and spelled here, so that flags, recipes, presets and
the page agree on what a value is.
"""

import dataclasses
import numbers
from collections.abc import Callable

from imagen_jax.config import checks

OFF = 'off'  # asks for None, since a None that is given means the stage's own

# When a recipe or a protocol tells of a setting. Both are compared with what
# older releases wrote, so this is not to be changed for a setting that exists.
ALWAYS = 'always'
UNLIKE_OWN = 'unlike own'  # where a value is not the stage's own
UNLIKE_DEFAULT = 'unlike default'  # where a value or the stage's own is not it


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
  """What there is to say about a field of `settings.Sampling`."""

  name: str
  kind: object  # its annotated type
  label: str  # in a word or two, for a page
  help: str  # what it does, with its unit
  value: str  # stands for a value in a command line
  choices: tuple[str, ...] = ()  # of a word
  fits: Callable[[object], bool] = lambda value: True
  wanted: str = ''  # what `fits` asks for: it must ...
  usual: bool = False  # shown first; the others apart
  base: bool = True  # whether the base has it; False = super-resolution alone
  decides: bool = True  # what a picture is, and not only how it is computed
  bound: bool = False  # set by `bind` alone, not for a picture
  recipe: str = UNLIKE_DEFAULT  # when a recipe tells it
  protocol: str = UNLIKE_DEFAULT  # when a protocol tells it

  @property
  def optional(self) -> bool:
    """Whether it may be None, for which `OFF` asks."""
    return checks.fits(None, self.kind)

  @property
  def is_pair(self) -> bool:
    """Whether a value is two numbers."""
    return checks.fits((0.0, 0.0), self.kind)

  @property
  def number(self) -> type | None:
    """int or float, where a value is one number; None where it is none."""
    if self.kind is bool or not checks.fits(0, self.kind):
      return None
    return float if checks.fits(0.5, self.kind) else int

  @property
  def must(self) -> str:
    """What a value has to do, in words."""
    wanted = self.wanted or f'be one of {", ".join(self.choices)}'
    return f'{wanted}, or be {OFF}' if self.optional else wanted

  def check(self, value) -> None:
    """Raises ValueError where a value is of another type or out of range."""
    if self.choices:
      if value not in self.choices:
        raise ValueError(f'{self.name} {value!r} is not one of {self.choices}')
    elif value is not None or not self.optional:
      if not checks.fits(value, self.kind) or not self.fits(value):
        shown = repr(value) if isinstance(value, str) else value
        raise ValueError(f'{self.name} is {shown}; it must {self.must}')

  def is_one(self, value) -> bool:
    """Whether a value is one for all stages, and not a list of several."""
    if isinstance(value, numbers.Real | str):
      return True
    return self.is_pair and _is_pair(value)

  def taken(self, value):
    """A given value as the field holds it: `OFF` is None, a list a tuple."""
    if self.optional and isinstance(value, str) and value == OFF:
      return None
    return tuple(value) if self.is_pair and _is_pair(value) else value

  def parse(self, text: str):
    """A value of its text; ValueError where that is of another type."""
    if self.optional and text == OFF:
      return OFF
    if self.is_pair:
      first, _, last = text.partition(':')
      return float(first), float(last)
    return (self.number or str)(text)

  def parse_list(self, text: str) -> list:
    """Values separated by commas, in the order of the stages."""
    try:
      return [self.parse(part) for part in text.split(',')]
    except ValueError:
      what = 'whole numbers' if self.number is int else 'numbers'
      if self.is_pair:
        what = f'ranges {self.value}'
      off = f' or {OFF}' if self.optional else ''
      raise ValueError(
        f'{text!r} is no list of {what}{off} separated by commas'
      ) from None

  def spell(self, value) -> str:
    """As short as it can be and still be read back by `parse` as the same."""
    if value is None:
      return OFF
    if self.is_pair:
      return ':'.join(map(_shortest, value))
    return _shortest(value) if self.number is float else str(value)


def _is_pair(value):
  return (
    not isinstance(value, str)
    and hasattr(value, '__len__')
    and len(value) == 2
    and all(isinstance(v, numbers.Real) for v in value)
  )


def _shortest(number):
  return repr(float(number)).removesuffix('.0')
