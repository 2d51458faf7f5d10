"""Colour profiles of picture files -> sRGB, what networks and screens take.

  to_srgb(image, profile, gray)   the picture, its colours those of sRGB
  fate(profile, mode)             '' as it is, 'converted' or 'ignored'

Not in the paper. By LittleCMS, which Pillow brings, with the perceptual intent,
as browsers and painters do. A profile that differs from sRGB by no more than
rounding leaves every bit as it is. One that is damaged, or of another kind of
picture, is ignored: the numbers are taken as sRGB.
"""

import functools
import io

import numpy as np
import PIL.Image
import PIL.ImageCms

_MOST = 8 << 20  # bytes of a profile; the largest of printers have 4 MB
_ROUNDING = 2  # levels of 255; what tools write as sRGB differs by 1
_STEPS = 17  # of each primary, where two profiles are compared
# Colour space of the profile -> the mode of pictures that it is for.
_MODES = {'RGB': 'RGB', 'GRAY': 'L', 'CMYK': 'CMYK', 'Lab': 'LAB'}


def fate(profile: bytes | None, mode: str) -> str:
  """What becomes of a profile in a picture of a mode of Pillow's.

  Returns '' where there is none, or it is sRGB; 'converted'; or 'ignored'.
  """
  if not profile:
    return ''
  found = _conversion(profile)
  if found is None or not _fits(found.mode, mode):
    return 'ignored'
  return '' if found.transform is None else 'converted'


def to_srgb(
  image: PIL.Image.Image, profile: bytes | None, gray: bool = False
) -> PIL.Image.Image:
  """The colours of a picture in sRGB; its alpha stays.

  Args:
    image: RGB, RGBA, L, CMYK or LAB, of 8 bits, its pixels read.
    profile: of its file, or None.
    gray: whether R, G and B are alike because the file is gray.
  """
  space = 'L' if gray else image.mode.removesuffix('A')
  if image.mode == 'LAB' and not profile:
    return _of_lab()(image)
  if not profile or fate(profile, space) != 'converted':
    return image
  found = _conversion(profile)
  values = image
  if image.mode != found.mode:  # of alpha the colours alone
    values = image.getchannel(0) if found.mode == 'L' else image.convert('RGB')
  result = found.transform(values)
  if image.mode == 'RGBA':
    result.putalpha(image.getchannel('A'))
  return result


class _Conversion:
  """A profile: the mode it is for, and how to sRGB; None = it is sRGB."""

  def __init__(self, mode, transform):
    self.mode, self.transform = mode, transform


def _fits(wanted, mode):
  if wanted == 'L':
    return mode in ('L', 'LA', 'La', '1', 'I') or mode.startswith('I;')
  if wanted == 'RGB':  # of gray pictures too: tools leave it when they make one
    return mode not in ('CMYK', 'LAB')
  return mode == wanted


@functools.lru_cache(32)
def _conversion(profile):
  """Of a profile's bytes; None where they are damaged."""
  if len(profile) > _MOST:
    return None
  try:
    opened = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _MODES[opened.profile.xcolor_space.strip()]
    transform = _transform(opened, mode)
    return _Conversion(mode, None if _is_srgb(transform, mode) else transform)
  except Exception:  # whatever LittleCMS and its wrapper raise of damage
    return None


def _transform(opened, mode):
  srgb = PIL.ImageCms.createProfile('sRGB')
  built = PIL.ImageCms.buildTransform(opened, srgb, mode, 'RGB')
  return functools.partial(PIL.ImageCms.applyTransform, transform=built)


@functools.cache
def _of_lab():
  return _transform(PIL.ImageCms.createProfile('LAB'), 'LAB')


def _is_srgb(transform, mode):
  """Whether numbers come out as they go in."""
  if mode not in ('RGB', 'L'):
    return False
  ramp = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
  if mode == 'L':
    values = np.arange(256, dtype=np.uint8)[None]
  else:
    grid = np.stack(np.meshgrid(ramp, ramp, ramp), axis=-1)
    values = grid.reshape(_STEPS, -1, 3)
  after = np.asarray(transform(PIL.Image.fromarray(values))).astype(int)
  before = values[..., None] if mode == 'L' else values
  return np.abs(after - before).max() <= _ROUNDING
