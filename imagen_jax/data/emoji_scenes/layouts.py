"""Layouts: where the objects of a scene stand, and how large they are.

Objects fill squares; centres and sides are in units of the picture, [0, 1].
No two squares touch, none touches the border, and every object is large enough
to be read at 64 pixels. `draws` gives uniforms (`scenes.Draws`).
"""

GRID = 64  # squares lie on cells of the picture: whole pixels at 64, 256, 1024
MARGIN = 0.04  # between any object and the border
GAP = 0.03  # between two objects
# Sides of a lone object, (least, most), by stated size.
LONE_SIDES = {None: (0.46, 0.55), 'small': (0.30, 0.34), 'big': (0.68, 0.74)}
# Sides of the members of a pair.
PAIR_SIDES = {None: (0.36, 0.40), 'small': (0.26, 0.29), 'big': (0.46, 0.48)}
# Sides of three objects that share a picture as one and two.
TRIO_SIDES = (0.34, 0.38)
# Layouts of a count: (least side, most side, centres).
COUNT_LAYOUTS = {
  2: (
    (0.36, 0.42, ((0.26, 0.5), (0.74, 0.5))),
    (0.36, 0.42, ((0.26, 0.28), (0.74, 0.72))),
  ),
  3: (
    (0.27, 0.285, ((0.17, 0.5), (0.5, 0.5), (0.83, 0.5))),
    (0.34, 0.39, ((0.5, 0.27), (0.26, 0.72), (0.74, 0.72))),
  ),
  4: ((0.3, 0.36, ((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72))),),
  5: (
    (
      0.25,
      0.27,
      ((0.18, 0.18), (0.82, 0.18), (0.5, 0.5), (0.18, 0.82), (0.82, 0.82)),
    ),
    (
      0.26,
      0.285,
      ((0.17, 0.33), (0.5, 0.33), (0.83, 0.33), (0.33, 0.68), (0.67, 0.68)),
    ),
  ),
}
COUNT_JITTER = 0.005


def lone(draws, size):
  """Draws the (centre, side) of a lone object, near the middle."""
  side = draws.uniform(*LONE_SIDES[size])
  room = min(0.12, 0.5 - MARGIN - side / 2)
  centre = (
    0.5 + draws.uniform(-room, room),
    0.5 + draws.uniform(-room, room),
  )
  return centre, side


def tidy(draws, count):
  """Draws the (centres, side) of two to five objects of one kind."""
  low, high, centres = draws.pick(COUNT_LAYOUTS[count])
  side = draws.uniform(low, high)
  centres = [
    (
      x + draws.uniform(-COUNT_JITTER, COUNT_JITTER),
      y + draws.uniform(-COUNT_JITTER, COUNT_JITTER),
    )
    for x, y in centres
  ]
  return centres, side


def facing(draws, sizes, lie):
  """Draws the (centres, sides) of two objects; `lie` is of 0 to 1."""
  sides = [draws.uniform(*PAIR_SIDES[size]) for size in sizes]
  along, across = _two_places(draws, sides, lie)
  centres = [_centre(lie, along[n], across[n]) for n in (0, 1)]
  return centres, sides


def trio(draws, doubled, lie):
  """Draws the (centres of groups 0 and 1, side) of one object and two.

  `doubled` is the group of two, which stands in line across the relation.
  """
  side = draws.uniform(*TRIO_SIDES)
  along, across = _two_places(draws, (side, side), lie)
  spread = draws.uniform(side + GAP, 1 - 2 * MARGIN - side) / 2
  centres = [[_centre(lie, along[n], across[n])] for n in (0, 1)]
  # The two stand centred, so that both stay clear of the border.
  centres[doubled] = [
    _centre(lie, along[doubled], 0.5 + offset) for offset in (-spread, spread)
  ]
  return centres, side


def _two_places(draws, sides, lie):
  """Draws the centres of groups 0 and 1 along and across their relation."""
  first = 0 if lie in ('left', 'above') else 1
  slack = 1 - 2 * MARGIN - GAP - sides[0] - sides[1]
  before = draws.uniform(0, slack)
  between = draws.uniform(0, slack - before)
  along = [0.0, 0.0]
  along[first] = MARGIN + before + sides[first] / 2
  along[1 - first] = (
    MARGIN + before + sides[first] + GAP + between + sides[1 - first] / 2
  )
  across = []
  for side in sides:
    room = min(0.08, 0.5 - MARGIN - side / 2)
    across.append(0.5 + draws.uniform(-room, room))
  return along, across


def _centre(lie, along, across):
  return (along, across) if lie in ('left', 'right') else (across, along)
