"""Makes sprites.json from the Fluent Emoji Flat tarball (maintainers only).

  python tools/vendor_sprites.py TARBALL OUT

TARBALL is `npm pack @iconify-json/fluent-emoji-flat@1.2.6`; its checksum is
verified. Curves are flattened by `svgelements`, each drawing is centred and
scaled so that its longer side fills 15/16 of a 2048 grid, and rounded to whole
grid units. The asset is committed; the tarball is not.

Asset: {"grid": 2048, "source": ..., "sprites": {noun: [[fill, opacity, rule,
[[x0, y0, x1, y1, ...], ...]], ...]}}, paths from back to front.
"""

import argparse
import hashlib
import json
import math
import pathlib
import tarfile
import xml.etree.ElementTree

from imagen_jax.data.emoji_scenes import sprites

SOURCE = '@iconify-json/fluent-emoji-flat 1.2.6'
SHA256 = '7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175'
GRID = 2048
FILL = 15 / 16  # of the box, by the longer side of the drawing
TOLERANCE = 0.7  # grid units between a curve and its chords

# Caption nouns whose icon has another name.
ICONS = {
  'apple': 'red-apple',
  'bunch of grapes': 'grapes',
  'cat': 'cat-face',
  'dog': 'dog-face',
  'rabbit': 'rabbit-face',
  'mouse': 'mouse-face',
  'bee': 'honeybee',
  'car': 'automobile',
  'pine tree': 'evergreen-tree',
  'tree': 'deciduous-tree',
  'cake': 'birthday-cake',
  'heart': 'red-heart',
}


def read_icons(tarball):
  """The tarball's icon table {name: {'body': svg}}, checksum verified."""
  digest = hashlib.sha256(pathlib.Path(tarball).read_bytes()).hexdigest()
  if digest != SHA256:
    raise ValueError(
      f'{tarball}: sha256 {digest}, expected {SHA256}; fetch {SOURCE} again'
    )
  with tarfile.open(tarball) as archive:
    table = json.load(archive.extractfile('package/icons.json'))
  return table['icons']


def flatten(segment):
  """Points of one svgelements segment after its start: [(x, y), ...]."""
  if type(segment).__name__ in ('Move', 'Line', 'Close'):
    return [] if segment.end is None else [(segment.end.x, segment.end.y)]
  # The bend at 16 places bounds the distance of n chords by bend / n^2.
  ends = segment.point(0), segment.point(1)
  chord = complex(ends[1].x - ends[0].x, ends[1].y - ends[0].y)
  bend = 0.0
  for i in range(1, 16):
    p = segment.point(i / 16)
    offset = complex(p.x - ends[0].x, p.y - ends[0].y)
    along = 0.0
    if abs(chord) > 0:
      along = (offset * chord.conjugate()).real / abs(chord) ** 2
    bend = max(bend, abs(offset - min(max(along, 0.0), 1.0) * chord))
  unit = 32 / GRID
  count = max(1, math.ceil(math.sqrt(1.5 * bend / (TOLERANCE * unit))))
  points = [segment.point(i / count) for i in range(1, count + 1)]
  return [(p.x, p.y) for p in points]


def shape_path(element):
  """svgelements path of one <path>, <circle> or <ellipse>, transformed."""
  import svgelements

  kind = element.tag
  attributes = dict(element.attrib)
  if kind == 'path':
    shape = svgelements.Path(attributes['d'])
  elif kind == 'circle':
    shape = svgelements.Circle(
      *(float(attributes[k]) for k in ('cx', 'cy', 'r'))
    )
  elif kind == 'ellipse':
    shape = svgelements.Ellipse(
      *(float(attributes[k]) for k in ('cx', 'cy', 'rx', 'ry'))
    )
  else:
    raise ValueError(f'element <{kind}> is not a filled path; choose another')
  if 'transform' in attributes:
    shape = shape * svgelements.Matrix(attributes['transform'])
  return svgelements.Path(shape)


def read_body(body):
  """SVG body -> [(fill, opacity, rule, polygons in view box units)]."""
  root = xml.etree.ElementTree.fromstring(f'<g>{body}</g>')
  found = []

  def visit(element, inherited):
    style = {**inherited, **element.attrib}
    if element.tag == 'g':
      for child in element:
        style.pop('transform', None)
        visit(child, style)
      return
    polygons = []
    for subpath in shape_path(element).as_subpaths():
      points = []
      for segment in subpath:
        points += flatten(segment)
      polygons.append(points)
    opacity = float(style.get('opacity', 1)) * float(
      style.get('fill-opacity', 1)
    )
    rule = style.get('fill-rule', 'nonzero')
    found.append((style['fill'].lower(), opacity, rule, polygons))

  visit(root, {})
  return [path for path in found if path[0] != 'none']


def to_grid(paths):
  """Centres and scales view box polygons; whole grid units, flat lists."""
  xs = [x for path in paths for points in path[3] for x, _ in points]
  ys = [y for path in paths for points in path[3] for _, y in points]
  longer = max(max(xs) - min(xs), max(ys) - min(ys))
  scale = FILL * GRID / longer
  middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
  result = []
  for fill, opacity, rule, polygons in paths:
    rounded = []
    for points in polygons:
      flat = []
      for x, y in points:
        point = [
          round(GRID / 2 + (x - middle_x) * scale),
          round(GRID / 2 + (y - middle_y) * scale),
        ]
        if flat[-2:] != point:
          flat += point
      if len(flat) > 2 and flat[:2] == flat[-2:]:
        flat = flat[:-2]
      if len(flat) >= 6:
        rounded.append(flat)
    fill = '#' + ''.join(2 * c for c in fill[1:]) if len(fill) == 4 else fill
    result.append([fill, opacity, rule, rounded])
  return result


def main(argv=None):
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('tarball', help='the npm package, as downloaded')
  parser.add_argument('out', help='the JSON to write')
  args = parser.parse_args(argv)
  icons = read_icons(args.tarball)
  table = {}
  for noun in sprites.OBJECTS:
    icon = ICONS.get(noun, noun.replace(' ', '-'))
    table[noun] = to_grid(read_body(icons[icon]['body']))
  asset = {'grid': GRID, 'source': SOURCE, 'sprites': table}
  text = json.dumps(asset, separators=(',', ':'))
  pathlib.Path(args.out).write_text(text.replace('],"', '],\n"') + '\n')


if __name__ == '__main__':
  main()
