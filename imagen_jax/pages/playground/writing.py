"""How to draw a picture of the page again, from a shell or in Python.

Only what differs from the stages' own settings is written: with the cascade of
the same id it draws the same picture, whatever became of the presets.
"""

import shlex

from imagen_jax import stages
from imagen_jax.pages.playground import orders
from imagen_jax.stages import entries


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
    flags[name] = ','.join(map(stages.SETTINGS[name].spell, values))
  flags['negative'] = order.negative
  if order.size:
    flags['size'] = f'{order.size[1]}x{order.size[0]}'
  if order.change == 'upscale':
    flags['upscale'] = order.picture.name
  elif order.picture:
    flags['image'] = order.picture.name
    flags['mask'] = _mask_name(order)
    if order.outpaint is not None:
      flags['outpaint'] = _plain(order.outpaint)
    flags['strength'] = _plain(order.strength)
  flags['cascade'] = directory
  # A prompt may begin like a flag: it comes last, behind what ends them.
  dash = ['--'] if order.prompt.startswith('-') else []
  words = [f'--{k}={v}' for k, v in flags.items() if v is not None]
  words += [*dash, order.prompt] if order.prompt else []
  first = 'python -m imagen_jax.sample'
  return ' '.join([first, *map(shlex.quote, words)])


def python(order: orders.Order, cascade, directory: str | None) -> str:
  """Lines of Python: `images` is uint8 [1, h, w, 3]."""
  if order.edit:
    return _gone(order)
  size = cascade.stages[len(order.plan) - 1].resolution
  keywords = {'seed': order.seed}
  if upto := _upto(order, cascade):
    keywords['upto'] = upto
  for name, values in orders.settings(cascade, order.plan).items():
    keywords[name] = [entries.OFF if v is None else v for v in values]
  if order.change == 'upscale':
    return _enlarging(order, keywords, directory)
  if order.size:
    keywords['size'] = order.size
  if order.negative is not None:
    keywords['negative'] = order.negative
  given = [f'  [{order.prompt!r}],']
  given += [f'  {name}={value!r},' for name, value in keywords.items()]
  lines = ['import imagen_jax']
  if order.picture:
    lines.append('from imagen_jax.sampling import edits')
  lines += ['', _loading(directory)]
  if order.picture:
    lines += _source(order, size)
    given.append('  source=source,')
  lines += ['images = cascade.sample(', *given, ')', '']
  height, width = order.size or (size, size)
  return '\n'.join(lines) + f'# uint8 [1, {height}, {width}, 3]\n'


def _source(order, size):
  """Lines that make the `edits.Source`."""
  lines = [f'picture = edits.read({order.picture.name!r})']
  given = {'strength': order.strength}
  if order.change == 'mask':
    lines.append(f'mask = edits.read_mask({_mask_name(order)!r}, picture)')
    lines.append(f'mask = edits.square(mask, {size})')
  lines.append(f'picture = edits.square(picture, {size})')
  if order.change == 'outpaint':
    lines.append(
      f'picture, mask = edits.outpainting(picture, {order.outpaint})'
    )
  if order.change:
    given['resamples'] = orders.RESAMPLES
  return [
    *lines,
    'source = edits.Source(',
    '  picture=picture,',
    *(['  mask=mask,'] if order.change else []),
    *(f'  {name}={value!r},' for name, value in given.items()),
    ')',
  ]


def _enlarging(order, keywords, directory):
  """Lines of Python that enlarge a picture."""
  seed = keywords.pop('seed')
  plan = ', '.join(f'{name}={value!r}' for name, value in keywords.items())
  lines = [
    'import imagen_jax',
    'from imagen_jax.sampling import edits',
    '',
    _loading(directory),
    'image = edits.upscale(',
    '  cascade,',
    f'  edits.read({order.picture.name!r}),',
    f'  cascade.plan({plan}),',
    *([f'  caption={order.prompt!r},'] if order.prompt else []),
    f'  seed={seed},',
    ')',
    'images = image[None]',
    '',
  ]
  return '\n'.join(lines)


def _loading(directory):
  where = '' if directory is None else repr(directory)
  return f'cascade = imagen_jax.load_cascade({where})'


def _mask_name(order):
  """Of the mask's file, another than the picture's; None without a mask."""
  if order.mask is None:
    return None
  same = order.mask.name == order.picture.name
  return f'mask_{order.mask.name}' if same else order.mask.name


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
