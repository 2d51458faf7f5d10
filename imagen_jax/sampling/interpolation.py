"""From one caption to the next, in pictures of the same noise.

Not in the paper. Between two captions the embeddings of tokens that both have
are mixed, and a token that only one has counts as much of a token as its
caption has weight. So nothing jumps, and the ends are the captions themselves.

  captions -> uint8 [legs, n, r, r, 3], a strip and an animation
"""

import pathlib

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from imagen_jax.files import pictures

TILE = 160  # pixels, largest side of a picture on the strip
ANIMATION = 512  # pixels, largest side of the animation
_PAUSE, _FRAME = 900, 110  # milliseconds at a caption, and between
_MARGIN, _LINE = 8, 22


def between(text, mask, n, padding=False):
  """Embeddings on the way through captions, n on each leg, its ends included.

  Args:
    text: [k, l, d], of k captions.
    mask: [k, l] bool.
    n: at least 2.
    padding: whether what the encoder gives at padding is seen too, as by the
      stages of DeepFloyd IF; it is mixed then as all else is.

  Returns:
    text [(k - 1) n, l, d] and mask [(k - 1) n, l] float32 in [0, 1].
  """
  shares = np.linspace(0, 1, n, dtype=np.float32)
  texts, masks = [], []
  for here, there in zip(range(len(text) - 1), range(1, len(text))):
    for share in shares:
      weights = np.stack([(1 - share) * mask[here], share * mask[there]])
      total = weights.sum(axis=0)  # 1 where both have a token
      masks.append(total)
      if padding:
        weights = np.stack([0 * total + (1 - share), 0 * total + share])
        total = weights.sum(axis=0)
      ends = np.stack([text[here], text[there]])
      mixed = np.einsum('kl,kld->ld', weights / np.maximum(total, 1e-9), ends)
      texts.append(mixed)
  return np.float32(texts), np.float32(masks)


def draw(cascade, captions, n, plan, *, seed=0, **options):
  """Pictures from caption to caption: uint8 [k - 1, n, h, w, 3].

  Args:
    cascade: a `cascade.Cascade`.
    captions: k of them, at least 2.
    n: pictures from each to the next, both included.
    plan: of `Cascade.plan`.
    seed: of all of them; the noise is the same.
    **options: of `Cascade.draw_texts`.
  """
  if len(captions) < 2:
    raise ValueError(
      f'{len(captions)} prompts to go between; give two or more, as different '
      'ones'
    )
  if n < 2:
    raise ValueError(f'{n} pictures from prompt to prompt; take at least 2')
  text, mask = between(
    *cascade.encoder.encode(captions), n, cascade.encoder.as_if
  )
  index = [0] * len(text)
  # A layout is of one sentence; between two there is none, and names flip.
  images = cascade.draw_texts(
    text, mask, index, plan, seed=seed, unplaced=True, **options
  )
  return images.reshape(len(captions) - 1, n, *images.shape[1:])


def strip(images, captions):
  """A row for each leg, its captions above its ends: uint8 [h, w, 3]."""
  legs, n = images.shape[:2]
  tile = min(max(images.shape[2:4]), TILE)
  pitch, row = tile + _MARGIN, tile + _MARGIN + _LINE
  canvas = PIL.Image.new(
    'RGB', (_MARGIN + n * pitch, legs * row + _MARGIN // 2), 'white'
  )
  ink, font = PIL.ImageDraw.Draw(canvas), PIL.ImageFont.load_default(12)
  half = (canvas.width - 3 * _MARGIN) // 2
  for leg in range(legs):
    top = leg * row + _LINE
    for end, anchor in ((0, 'lm'), (1, 'rm')):
      text = pictures.fitted(ink, font, captions[leg + end], half)
      x = _MARGIN if end == 0 else canvas.width - _MARGIN
      ink.text((x, top - _LINE // 2), text, 'black', font, anchor=anchor)
    for i, image in enumerate(images[leg]):
      small = pictures.tile(image, tile)
      canvas.paste(small, (_MARGIN + i * pitch, top))
  return np.asarray(canvas)


def write_animation(path, images):
  """A GIF there and back again, resting at the captions; replaced whole."""
  legs, n, height, width = images.shape[:4]
  share = min(1, ANIMATION / max(height, width))
  size = max(1, round(share * width)), max(1, round(share * height))
  frames, times = [], []
  for leg in range(legs):
    for i in range(n if leg == legs - 1 else n - 1):
      image = PIL.Image.fromarray(images[leg, i])
      if image.size != size:
        image = image.resize(size, PIL.Image.Resampling.LANCZOS)
      # A palette of its own; dithering would flicker.
      frames.append(image.quantize(256, dither=PIL.Image.Dither.NONE))
      times.append(_PAUSE if i in (0, n - 1) else _FRAME)
  path = pathlib.Path(path)
  fresh = path.with_name(f'.{path.name}.new')
  try:
    frames[0].save(
      fresh,
      format='GIF',
      save_all=True,
      append_images=frames[1:] + frames[-2:0:-1],
      duration=times + times[-2:0:-1],
      loop=0,
    )
    fresh.replace(path)
  finally:
    fresh.unlink(missing_ok=True)
