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

_BINS = 24
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2430; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem;
  border-bottom: 1px solid #d8dee8; }
table { border-collapse: collapse; width: 100%; }
td { padding: .2rem .8rem .2rem 0; vertical-align: top; }
td:first-child { color: #5a6678; white-space: nowrap; width: 1%;
  min-width: 9.5rem; }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
figure { margin: 0; }
figcaption { font-size: .85rem; color: #5a6678; }
.pictures { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.pictures img { width: 100%; image-rendering: auto; border-radius: 4px; }
.pictures figcaption { overflow: hidden; display: -webkit-box;
  -webkit-line-clamp: 3; -webkit-box-orient: vertical; }
"""


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
        ('rejected', _counts(s.rejected, rejected, total)),
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
  charts = [
    _histogram(short, 'short side, pixels'),
    _histogram(np.minimum(aspect, 5), 'aspect, long over short (5 = or more)'),
    _histogram(s.characters, 'characters of a caption'),
    _histogram(s.size / 1024, 'KiB of a file'),
  ]
  if s.tokens is not None:
    title = 'tokens of a caption' + _more(s)
    charts.insert(3, _histogram(s.tokens, title, s.max_tokens))
  parts = [
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>{html.escape(s.root)}</title><style>{_STYLE}</style></head><body>',
    f'<h1>{html.escape(s.root)}</h1>',
  ]
  for section, rows in facts(s, width):
    parts.append(f'<h2>{section}</h2><table>')
    for name, value in rows:
      parts.append(f'<tr><td>{name}</td><td>{html.escape(value)}</td></tr>')
    parts.append('</table>')
  parts.append(
    f'<h2>Histograms</h2><div class="charts">{"".join(charts)}</div>'
  )
  parts.append('<h2>As training sees them</h2><div class="pictures">')
  parts += [_figure(image, caption) for image, caption in s.thumbnails]
  parts.append('</div>')
  parts += _listed(
    'Rejected', [(r['id'], r['reason']) for r in s.rejected_some]
  )
  parts += _listed('Bad when decoded', sorted(s.bad.items()))
  parts += _listed(
    'Equal files', [(ids[0], ', '.join(ids[1:9])) for ids in s.same_files]
  )
  return '\n'.join([*parts, '</body></html>'])


def _more(s):
  """What the largest number of tokens stands for."""
  return f' ({s.max_tokens + 1} = cut)' if max(s.tokens) > s.max_tokens else ''


def _listed(title, rows, limit=200):
  if not rows:
    return []
  cells = ''.join(
    f'<tr><td>{html.escape(str(a))}</td><td>{html.escape(str(b))}</td></tr>'
    for a, b in rows[:limit]
  )
  more = f', the first {limit}' if len(rows) > limit else ''
  return [f'<h2>{title}{more}</h2><table>{cells}</table>']


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


def _histogram(values, title, mark=None):
  """An SVG of bars; `mark` is a value to draw a line at."""
  values = np.asarray(values, float)
  low, high = (values.min(), values.max()) if len(values) else (0, 1)
  high = high if high > low else low + 1
  counts, edges = np.histogram(values, _BINS, (low, high))
  top = max(1, counts.max())
  w, h = 260 / _BINS, 90
  # One of a million is still to be seen.
  tall = np.maximum(1, h * counts / top)
  bars = ''.join(
    f'<rect x="{i * w:.1f}" y="{h - tall[i]:.1f}" width="{w - 1:.1f}" '
    f'height="{tall[i]:.1f}" fill="#3b6ea8"><title>{edges[i]:.4g} to '
    f'{edges[i + 1]:.4g}: {n:,}</title></rect>'
    for i, n in enumerate(counts)
    if n
  )
  if mark is not None and low <= mark <= high:
    x = 260 * (mark - low) / (high - low)
    bars += f'<path d="M{x:.1f} 0V{h}" stroke="#c0392b" stroke-dasharray="3"/>'
  label = 'font-size="11" fill="#5a6678"'
  return (
    f'<figure><svg viewBox="0 0 260 108" role="img" aria-label="{title}">'
    f'{bars}<text x="0" y="104" {label}>{_number(low)}</text>'
    f'<text x="130" y="104" text-anchor="middle" {label}>tallest: {top:,}'
    '</text>'
    f'<text x="260" y="104" text-anchor="end" {label}>{_number(high)}</text>'
    f'</svg><figcaption>{title}</figcaption></figure>'
  )


def _number(value):
  return f'{value:,.0f}' if value >= 10 else f'{value:.2g}'


def _counts(counts, some, total):
  if not some:
    return 'none'
  return f'{_share(some, total)}: {index.summary(counts)}'


def _tally(reasons):
  counts = {}
  for reason in reasons:
    counts[reason] = counts.get(reason, 0) + 1
  return counts


def _groups(groups):
  if not groups:
    return 'none'
  extra = sum(len(ids) - 1 for ids in groups)
  return f'{extra:,} are copies of others, such as {" = ".join(groups[0][:2])}'


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
