"""JPEG files decoded and halved by SIMD code, where its libraries are there.

Not in the paper, and no need: simplejpeg decodes into an array of three bytes a
pixel (Pillow's pictures have four), and OpenCV takes means of 2x2 pixels. The
pixels are those of Pillow to the last bit. That is looked at in each process,
on noise, before the first use; where they differ, or a library is missing,
Pillow does all.

  decode(data, (w, h))   uint8 [h, w, 3], or None: leave it to Pillow
  halved(values)         uint8 [h, w, 3] -> [ceil(h / 2), ceil(w / 2), 3]
"""

import functools
import io

import numpy as np
import PIL.Image

# Below it two of libjpeg's scales, eighths of the sides, may give one size.
_LOWEST = 16  # pixels of the shorter side
_TRIED = 96, 67  # pixels: a picture on which both have to agree


def found() -> bool:
  """Whether it can be used here."""
  return _libraries() is not None


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray | None:
  """The pixels of an RGB JPEG at the size that Pillow's draft has chosen.

  None where Pillow has to say what it is: the file is odd or damaged.
  """
  libraries = _libraries()
  if libraries is None or min(size) < _LOWEST:
    return None
  return _decode(libraries[0], data, size)


def halved(values: np.ndarray) -> np.ndarray:
  """Means of 2x2 pixels, half a level rounded up; fewer at an odd edge."""
  return _halved(_libraries()[1], values)


def _decode(simplejpeg, data, size):
  try:
    values = simplejpeg.decode_jpeg(
      data, 'RGB', min_width=size[0], min_height=size[1]
    )
  except (ValueError, OSError, MemoryError):  # warnings of libjpeg as well
    return None
  return values if values.shape[1::-1] == tuple(size) else None


def _halved(cv2, values):
  height, width = values.shape[:2]
  if height % 2 or width % 2:
    # Twice the last pixel: the mean of one or two pixels stays what it is.
    values = cv2.copyMakeBorder(
      values, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
    )
  size = (-(-width // 2), -(-height // 2))
  return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


@functools.cache
def _libraries():
  """(simplejpeg, cv2), or None."""
  try:
    import cv2  # neither is in the core
    import simplejpeg
  except (ImportError, AttributeError, OSError):  # or built for another NumPy
    return None
  # The loader has threads of its own; OpenCV's would take the cores from them.
  cv2.setNumThreads(1)
  return (simplejpeg, cv2) if _agree(simplejpeg, cv2) else None


def _agree(simplejpeg, cv2):
  """Whether noise comes out as Pillow has it, in each of the decoder's ways."""
  values = np.random.default_rng(0).integers(0, 256, (*_TRIED, 3), np.uint8)
  for subsampling in (0, 1, 2):
    out = io.BytesIO()
    picture = PIL.Image.fromarray(values)
    picture.save(out, 'JPEG', quality=90, subsampling=subsampling)
    for part in (1, 2, 4):
      image = PIL.Image.open(io.BytesIO(out.getvalue()))
      image.draft(None, tuple(side // part for side in image.size))
      seen = _decode(simplejpeg, out.getvalue(), image.size)
      if seen is None or not np.array_equal(seen, np.asarray(image)):
        return False
      if not np.array_equal(_halved(cv2, seen), np.asarray(image.reduce(2))):
        return False
  return True
