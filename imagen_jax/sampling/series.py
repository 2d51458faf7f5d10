"""Pictures of a long numbered list, drawn part by part into one directory.

Not in the paper. What is there, whole and drawn the same way, is not drawn
again; several hosts may share a list, each with every so-manieth picture of it.

  draw(cascade, plan, items, DIR)      items of `listed` or a caller's own
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import tqdm

from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import recipes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """A picture to draw."""

  path: str  # below the directory, *.png
  caption: str
  index: int = 0  # among the caption's pictures
  about: Mapping[str, str] = dataclasses.field(default_factory=dict)


def listed(captions: Sequence[str]) -> list[Item]:
  """An item each; captions that are equal give different pictures."""
  seen, items = {}, []
  for number, caption in enumerate(captions):
    index = seen.get(caption, 0)
    seen[caption] = index + 1
    path = f'{number // 1000:03d}/{number:06d}.png'
    items.append(Item(path=path, caption=caption, index=index))
  return items


def draw(
  cascade,
  plan,
  items: Sequence[Item],
  directory,
  *,
  seed: int = 0,
  host: int = 0,
  hosts: int = 1,
  title: str = '',
) -> None:
  """Draws what is not there yet; raises ValueError for others' pictures.

  Args:
    cascade: a `cascade.Cascade`.
    plan: its `Cascade.plan`.
    items: all of them, whoever draws.
    directory: to write to.
    seed: of the noise.
    host, hosts: this one draws items host, host + hosts, ...
    title: of the progress bar.
  """
  root = pathlib.Path(directory)
  mine = items[host::hosts]
  for folder in {(root / item.path).parent for item in mine}:
    folder.mkdir(parents=True, exist_ok=True)
    pictures.sweep_up(folder)
  missing = [i for i in mine if not _is_there(cascade, plan, i, root, seed)]
  group = cascade.group(len(plan))
  with tqdm.tqdm(
    total=len(mine),
    initial=len(mine) - len(missing),
    desc=title,
    unit='picture',
    disable=None,
  ) as bar:
    for first in range(0, len(missing), group):
      part = missing[first : first + group]
      requests = [_request(item) for item in part]
      images = cascade.draw(requests, plan, seed=seed)
      for item, image in zip(part, images):
        text = _text(cascade, plan, item, seed)
        pictures.write_png(root / item.path, image, text)
        bar.update()


def absent(items: Sequence[Item], directory) -> int:
  """How many of the pictures are not there, or not whole."""
  root = pathlib.Path(directory)
  return sum(pictures.read_text(root / item.path) is None for item in items)


def _is_there(cascade, plan, item, root, seed):
  path = root / item.path
  text = pictures.read_text(path) if path.exists() else None
  if text is None:  # none, or not whole: it is drawn
    return False
  if other := recipes.difference(text, _text(cascade, plan, item, seed)):
    raise ValueError(
      f'{path} is there, drawn with {other}; give another --out, or the same '
      'settings to go on'
    )
  return True


def _request(item):
  return cascade_lib.Request(caption=item.caption, index=item.index)


def _text(cascade, plan, item, seed):
  return recipes.write(cascade, plan, _request(item), seed) | dict(item.about)
