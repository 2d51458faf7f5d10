"""How to draw a picture of the page again, from a shell or in Python.

Only what differs from the stages' own settings is written: with the cascade of
the same id it draws the same picture, whatever became of the presets.
"""

import shlex

from imagen_jax.serving import orders


def command(order: orders.Order, cascade, directory: str | None) -> str:
  """A command line.

  Args:
    order: what was drawn.
    cascade: that drew it.
    directory: of the cascade; None = the one that ships.
  """
  if order.edit:
    return _gone(order)
  flags = {'seed': order.seed}
  if upto := _upto(order, cascade):
    flags['upto'] = upto
  for name, values in orders.settings(cascade, order.plan).items():
    flags[name] = ','.join(_plain(v) for v in values)
  flags['negative'] = order.negative
  if order.picture:
    flags['image'] = order.picture.name
    flags['strength'] = _plain(order.strength)
  flags['cascade'] = directory
  # A prompt may begin like a flag: it comes last, behind what ends them.
  dash = ['--'] if order.prompt.startswith('-') else []
  words = [f'--{k}={v}' for k, v in flags.items() if v is not None]
  first = 'python -m imagen_jax.sample'
  return ' '.join([first, *map(shlex.quote, [*words, *dash, order.prompt])])


def python(order: orders.Order, cascade, directory: str | None) -> str:
  """Lines of Python: `images` is uint8 [1, r, r, 3]."""
  if order.edit:
    return _gone(order)
  size = cascade.stages[len(order.plan) - 1].resolution
  keywords = {'seed': order.seed}
  if upto := _upto(order, cascade):
    keywords['upto'] = upto
  keywords |= orders.settings(cascade, order.plan)
  if order.negative is not None:
    keywords['negative'] = order.negative
  given = [f'  [{order.prompt!r}],']
  given += [f'  {name}={value!r},' for name, value in keywords.items()]
  lines = ['import imagen_jax']
  if order.picture:
    lines.append('from imagen_jax import edits')
  where = '' if directory is None else repr(directory)
  lines += ['', f'cascade = imagen_jax.load_cascade({where})']
  if order.picture:
    lines += [
      f'picture = edits.square(edits.read({order.picture.name!r}), {size})',
      f'source = edits.Source(picture=picture, strength={order.strength!r})',
    ]
    given.append('  source=source,')
  lines += ['images = cascade.sample(', *given, ')', '']
  return '\n'.join(lines) + f'# uint8 [1, {size}, {size}, 3]\n'


def _gone(order):
  return (
    f'# Made of another picture ({order.edit}), which is not here any more.\n'
  )


def _upto(order, cascade):
  """The last stage's resolution where it is not the cascade's last."""
  if len(order.plan) == len(cascade.stages):
    return None
  return cascade.stages[len(order.plan) - 1].resolution


def _plain(value):
  """As short as it can be and still be read back as the same."""
  return (
    repr(value).removesuffix('.0') if isinstance(value, float) else str(value)
  )
