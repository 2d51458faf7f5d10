"""DrawBench: 200 prompts in 11 categories (section 4.3, appendix C).

  read(FILE)            the released sheet, CSV or TSV, counts checked
  scenes(vocabulary)    our own 200 fixed prompts in the same form

The sheet is not ours to ship: it is taken from where its authors put it.
"""

import collections
import csv
import dataclasses
import pathlib

from imagen_jax.data.emoji_scenes import prompts

# Prompts in each category of the released sheet.
COUNTS = {
  'Colors': 25,
  'Conflicting': 10,
  'Counting': 19,
  'DALL-E': 20,
  'Descriptions': 20,
  'Gary Marcus et al.': 10,
  'Misspellings': 10,
  'Positional': 20,
  'Rare Words': 7,
  'Reddit': 38,
  'Text': 21,
}
_PROMPT, _CATEGORY = ('prompts', 'prompt'), ('category',)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
  """What is drawn, and the category it is rated in."""

  number: int  # in the sheet, from 0
  category: str
  caption: str


def read(path) -> list[Prompt]:
  """The prompts of the released sheet, in its order.

  Raises ValueError where columns or counts are not those of DrawBench.
  """
  rows = _rows(path)
  header = [name.strip() for name in rows[0]]
  places = {name.lower(): place for place, name in enumerate(header)}
  prompt, category = (
    next((places[name] for name in names if name in places), None)
    for names in (_PROMPT, _CATEGORY)
  )
  if prompt is None or category is None:
    raise ValueError(
      f'{path} has the columns {", ".join(filter(None, header)) or "none"}; '
      "DrawBench's sheet has Prompts and Category: export it again as CSV or "
      'TSV'
    )
  found = []
  for line, row in enumerate(rows[1:], start=2):
    if not any(cell.strip() for cell in row):
      continue
    cells = [_plain(row[i]) if i < len(row) else '' for i in (prompt, category)]
    if not all(cells):
      raise ValueError(
        f'{path}: line {line} has no {"category" if cells[0] else "prompt"}; '
        'export the sheet again'
      )
    found.append(
      Prompt(number=len(found), caption=cells[0], category=_known(cells[1]))
    )
  _check(path, found)
  return found


def scenes(vocabulary: str) -> list[Prompt]:
  """The fixed prompts of the embedded data set, five categories of 40."""
  return [
    Prompt(number=number, caption=p.caption, category=p.category)
    for number, p in enumerate(prompts.load(vocabulary))
  ]


def some(found, each: int | None) -> list[Prompt]:
  """The prompts of every category, at most `each`, spread over its own."""
  if each is None:
    return list(found)
  groups = by_category(found)
  kept = set()
  for group in groups.values():
    n = min(each, len(group))
    kept |= {group[i * len(group) // n].number for i in range(n)}
  return [prompt for prompt in found if prompt.number in kept]


def by_category(found) -> dict[str, list[Prompt]]:
  """{category: its prompts}, in the order of the sheet."""
  groups = collections.defaultdict(list)
  for prompt in found:
    groups[prompt.category].append(prompt)
  return dict(groups)


def _rows(path):
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8-sig')
  except OSError as e:
    raise ValueError(f'{path} cannot be read: {e.strerror}') from e
  except UnicodeDecodeError as e:
    raise ValueError(
      f'{path} is not UTF-8 text ({e.reason} at byte {e.start}); export the '
      'sheet as CSV or TSV'
    ) from e
  split = '\t' if '\t' in text.partition('\n')[0] else ','
  try:
    rows = list(csv.reader(text.splitlines(keepends=True), delimiter=split))
  except csv.Error as e:
    raise ValueError(
      f'{path} is damaged ({e}); look for a quote that is not closed'
    ) from e
  if not rows:
    raise ValueError(f'{path} is empty; export the sheet again')
  return rows


def _plain(text):
  return ' '.join(text.split())


def _known(category):
  """The category as `COUNTS` has it, whatever its capitals."""
  names = {name.lower().rstrip('.'): name for name in COUNTS}
  return names.get(category.lower().rstrip('.'), category)


def _check(path, found):
  there = collections.Counter(prompt.category for prompt in found)
  for name in [*COUNTS, *there]:
    if there[name] != COUNTS.get(name, 0):
      raise ValueError(
        f'{path} has {there[name]} prompts of {name!r}, DrawBench '
        f'{COUNTS.get(name, 0)} (and 200 of 11 categories in all, the sheet '
        f'{len(found)} of {len(there)}); export the whole sheet again'
      )
