"""A survey as text, and as one HTML page that needs nothing beside it.

text(survey, width)   lines for a terminal
page(survey, width)   HTML with histograms (SVG) and pictures (inline JPEG)
"""

import base64
import html
import io

import numpy as np
import PIL.Image

from imagen_jax.data import index
from imagen_jax.pages import charts, frame


def facts(s, width: int) -> list[tuple[str, list[tuple[str, str]]]]:
  """(section, [(name, value)]); `width` is the encoder's, for the cache."""
  rejected = sum(s.rejected.values())
  total = s.examples + rejected
  short = np.minimum(s.width, s.height)
  aspect = np.maximum(s.width, s.height) / np.maximum(short, 1)
  per = [len(several) for several in s.captions]
  speed = (s.decoded - len(s.bad)) / s.seconds if s.seconds else 0.0
  sections = [
    (
      'Files',
      [
        ('examples', f'{s.examples:,} of {total:,} found'),
        ('rejected', _rejected(s, rejected, total)),
        ('passed over', index.told(s.passed) or 'nothing'),
        (
          'bad when decoded',
          _counts(_tally(s.bad.values()), len(s.bad), s.decoded)
          + f', of {s.decoded:,} tried',
        ),
        ('bytes', f'{_bytes(s.size.sum())}, {_bytes(s.size.mean())} a picture'),
        ('equal files', _groups(s.same_files)),
      ],
    ),
    (
      'Pictures',
      [
        ('short side', _spread(short, 'pixels')),
        ('aspect', _spread(aspect, 'long over short', '.2f')),
        ('colour profiles', _profiles(s.profiles)),
      ],
    ),
    (
      'Training would use',
      [
        ('kept by the filter', _share(s.kept, s.examples)),
        ('too small', _share(s.too_small, s.examples)),
        ('too narrow', _share(s.too_narrow, s.examples)),
        ('area in the square', f'{s.cropped:.0%} of a picture on average'),
        ('speed', f'{speed:.0f} pictures/s on one core, decoded and resized'),
      ],
    ),
    (
      'Captions',
      [
        (
          'a picture has',
          'one each'
          if max(per) == 1
          else f'{min(per)} to {max(per)}, {np.mean(per):.2f} on average',
        ),
        ('characters', _spread(s.characters, 'characters')),
        ('letters', _scripts(s.scripts)),
        ('most repeated', _repeated(s.same_captions)),
      ],
    ),
  ]
  if s.tokens is not None:
    cut = int((s.tokens > s.max_tokens).sum())
    mean = np.minimum(s.tokens, s.max_tokens).mean()
    cache = mean * np.mean(per) * s.kept * width * 2
    sections[-1][1].insert(
      2, ('tokens', _spread(s.tokens, 'tokens') + _more(s))
    )
    sections[-1][1].insert(
      3, (f'cut at {s.max_tokens}', _share(cut, len(s.tokens)))
    )
    sections[-1][1].append(
      (
        'embeddings on disk',
        f'{_bytes(cache)} at {width:,} features in bfloat16, half in int8',
      )
    )
  return sections


def text(s, width: int) -> str:
  """The report for a terminal."""
  lines = [s.root]
  for section, rows in facts(s, width):
    lines += ['', section]
    lines += [f'  {name:<20}{value}' for name, value in rows]
  return '\n'.join(lines)


def page(s, width: int) -> str:
  """The report as one file of HTML."""
  short = np.minimum(s.width, s.height)
  aspect = np.maximum(s.width, s.height) / np.maximum(short, 1)
  bars = [
    _histogram(short, 'short side, pixels'),
    charts.histogram(
      np.minimum(aspect, 5), 'aspect, long over short (5 = or more)'
    ),
    _histogram(s.characters, 'characters of a caption'),
    _histogram(np.round(s.size / 1024, 1), 'KiB of a file'),
  ]
  if s.tokens is not None:
    title = 'tokens of a caption' + _more(s)
    bars.insert(3, charts.histogram(s.tokens, title, s.max_tokens))
  parts = [f'<main><h1>{html.escape(s.root)}</h1>']
  for section, rows in facts(s, width):
    parts += [f'<h2>{section}</h2>', frame.facts(rows)]
  parts.append(
    f'<h2>Histograms</h2><div class="charts small">{"".join(bars)}</div>'
  )
  parts.append('<h2>As training sees them</h2><div class="thumbnails">')
  parts += [_figure(image, caption) for image, caption in s.thumbnails]
  parts.append('</div>')
  parts += _listed(
    'Rejected', [(r['id'], r['reason']) for r in s.rejected_some]
  )
  parts += _listed('Bad when decoded', sorted(s.bad.items()))
  parts += _listed(
    'Equal files', [(ids[0], ', '.join(ids[1:9])) for ids in s.same_files]
  )
  body = '\n'.join([*parts, '</main>'])
  return frame.standalone(s.root, body, 'charts.css', 'report.css')


def _histogram(values, title):
  """Bars; where a few values are far from all others, they share the last."""
  limit = np.ceil(np.percentile(values, 99)) if len(values) else 0
  if len(values) and values.max() > 2 * limit > 0:
    title += f' ({charts.number(limit)} = or more)'
    values = np.minimum(values, limit)
  return charts.histogram(values, title)


def _more(s):
  """What the largest number of tokens stands for."""
  return f' ({s.max_tokens + 1} = cut)' if max(s.tokens) > s.max_tokens else ''


def _listed(title, rows, limit=200):
  if not rows:
    return []
  more = f', the first {limit}' if len(rows) > limit else ''
  return [f'<h2>{title}{more}</h2>', frame.facts(rows[:limit])]


def _figure(image, caption):
  out = io.BytesIO()
  picture = PIL.Image.fromarray(image)
  picture.thumbnail((160, 160))
  picture.save(out, 'JPEG', quality=85)
  data = base64.b64encode(out.getvalue()).decode()
  said = html.escape(caption)
  return (
    f'<figure><img alt="{said}" src="data:image/jpeg;base64,{data}">'
    f'<figcaption title="{said}">{said}</figcaption></figure>'
  )


def _counts(counts, some, total):
  if not some:
    return 'none'
  return f'{_share(some, total)}: {index.summary(counts)}'


def _rejected(s, some, total):
  if not some:
    return 'none'
  counts = {reason: [n, s.such[reason]] for reason, n in s.rejected.items()}
  return f'{_share(some, total)}: {index.told(counts)}'


def _profiles(fates):
  converted, ignored = (fates.get(k, 0) for k in ('converted', 'ignored'))
  if not converted + ignored:
    return 'none but sRGB'
  return (
    f'{converted:,} other than sRGB, converted; {ignored:,} damaged, ignored; '
    f'of {sum(fates.values()):,} looked at'
  )


def _tally(reasons):
  counts = {}
  for reason in reasons:
    counts[reason] = counts.get(reason, 0) + 1
  return counts


def _groups(groups):
  if not groups:
    return 'none'
  extra = sum(len(ids) - 1 for ids in groups)
  alike = ' = '.join(map(index.spelled, groups[0][:2]))
  return f'{extra:,} are copies of others, such as {alike}'


def _spread(values, unit, form='.0f'):
  if not len(values):
    return 'none'
  low, middle, high = np.percentile(values, [5, 50, 95])
  return (
    f'median {middle:{form}} {unit}, nine in ten from {low:{form}} to '
    f'{high:{form}}, all from {min(values):{form}} to {max(values):{form}}'
  )


def _share(part, whole):
  return f'{part:,} ({part / max(1, whole):.1%})'


def _scripts(shares):
  if not shares:
    return 'none'
  return ', '.join(f'{n} {v:.1%}' for n, v in list(shares.items())[:6])


def _repeated(pairs):
  if not pairs:
    return 'none twice'
  caption, count = pairs[0]
  shown = caption if len(caption) <= 60 else f'{caption[:57]}...'
  return f'{shown!r}, {count:,} times'


def _bytes(count):
  for unit in ('B', 'KB', 'MB', 'GB', 'TB'):
    if count < 1000 or unit == 'TB':
      return f'{count:.3g} {unit}'
    count /= 1000
