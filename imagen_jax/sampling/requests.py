"""What is asked of a cascade: pictures, and what there is beside captions."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from imagen_jax.sampling import bundles, edits, layout_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """One picture: the caption and its number among the caption's pictures."""

  caption: str
  index: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Options:
  """What may be asked for beside captions, plan and seed."""

  size: tuple[int, int] | None = None  # see `Cascade.sample`
  negative: str | None = None  # likewise
  source: edits.Source | None = None  # likewise
  layout: Sequence[layout_files.Box] | None = None  # likewise
  # Nothing is placed: the base draws by the text alone.
  unplaced: bool = False
  # uint8 [n, h, w, 3], what the first of the stages gave before: the others
  # alone are run, to the same pictures.
  given: np.ndarray | None = None
  # Called with a stage's name and then as `bundles.Observer` says.
  progress: Callable | None = None
  watch: Callable | None = None
  measure: Callable | None = None

  @property
  def observer(self):
    """Those who are told."""
    return bundles.Observer(
      progress=self.progress, watch=self.watch, measure=self.measure
    )
