"""Picture files as people have them, made anew: good ones, odd and damaged.

good()   name -> (bytes, size as seen, colour of the top left corner)
bad()    name -> (bytes, the reason for which it is refused)
"""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

W, H = 96, 72
RED, BLUE = (230, 20, 30), (20, 40, 220)


def picture(mode='RGB', size=(W, H)):
  """Red above left, blue elsewhere."""
  image = PIL.Image.new('RGB', size, BLUE)
  image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
  return image if mode == 'RGB' else image.convert(mode)


def save(image, kind, **options):
  out = io.BytesIO()
  image.save(out, kind, **options)
  return out.getvalue()


def oriented(value):
  """A JPEG with an EXIF orientation that shows `picture` upright."""
  undo = {
    2: [PIL.Image.Transpose.FLIP_LEFT_RIGHT],
    3: [PIL.Image.Transpose.ROTATE_180],
    4: [PIL.Image.Transpose.FLIP_TOP_BOTTOM],
    5: [PIL.Image.Transpose.TRANSPOSE],
    6: [PIL.Image.Transpose.ROTATE_90],
    7: [PIL.Image.Transpose.TRANSVERSE],
    8: [PIL.Image.Transpose.ROTATE_270],
  }
  image = picture()
  for step in undo.get(value, []):
    image = image.transpose(step)
  exif = PIL.Image.Exif()
  exif[0x0112] = value
  return save(image, 'JPEG', quality=95, exif=exif)


def gray16():
  values = np.full([H, W], 0x8080, np.uint16)
  values[: H // 2, : W // 2] = 0x4040
  return save(PIL.Image.fromarray(values), 'PNG')


def transparent(mode):
  """Fully transparent above left (and black beneath), blue elsewhere."""
  image = picture('RGBA')
  image.paste((0, 0, 0, 0), (0, 0, W // 2, H // 2))
  return image.convert(mode) if mode != 'RGBA' else image


def png_chunk(kind, data):
  body = kind + data
  return (
    struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))
  )


def png_header(width, height):
  fields = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  return b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', fields)


def good():
  """Files that must be read, and what is seen in them."""
  jpg, png = save(picture(), 'JPEG', quality=95), save(picture(), 'PNG')
  frames = [picture(), PIL.Image.new('RGB', (W, H), 'green')]
  gif = save(
    frames[0].quantize(8), 'GIF', save_all=True, append_images=frames[1:]
  )
  webp = save(
    frames[0], 'WEBP', save_all=True, append_images=frames[1:], lossless=True
  )
  apng = save(frames[0], 'PNG', save_all=True, append_images=frames[1:])
  key = save(picture('RGB'), 'PNG', transparency=RED)
  exif = b'Exif\0\0II*\0\xff\xff\xff\xff'  # a directory far outside
  late = png[:-12] + png_chunk(b'eXIf', b'nonsense') + png[-12:]
  size, white = (W, H), (255, 255, 255)
  gray = picture('L').getpixel((0, 0))
  files = {
    f'orientation_{i}.jpg': (oriented(i), size, RED) for i in range(1, 9)
  }
  return files | {
    'plain.jpg': (jpg, size, RED),
    'progressive.jpg': (save(picture(), 'JPEG', progressive=True), size, RED),
    'upper_case.JPG': (jpg, size, RED),
    'trailing_garbage.jpg': (jpg + b'<html>' * 500, size, RED),
    'damaged_exif.jpg': (save(picture(), 'JPEG', exif=exif), size, RED),
    'late_exif.png': (late, size, RED),
    'cmyk.jpg': (save(picture('CMYK'), 'JPEG', quality=95), size, RED),
    'gray.jpg': (save(picture('L'), 'JPEG'), size, (gray,) * 3),
    'alpha.png': (save(transparent('RGBA'), 'PNG'), size, white),
    'gray_alpha.png': (save(transparent('LA'), 'PNG'), size, white),
    'alpha.webp': (
      save(transparent('RGBA'), 'WEBP', lossless=True), size, white,
    ),
    'colour_key.png': (key, size, white),
    'palette.png': (save(picture().quantize(4), 'PNG'), size, RED),
    'palette_alpha.png': (
      save(transparent('RGBA').quantize(4), 'PNG'), size, white,
    ),
    'one_bit.png': (save(picture('L').point(
      lambda v: 255 * (v > 60)).convert('1'), 'PNG'), size, white),
    'sixteen_bit.png': (gray16(), size, (0x40,) * 3),
    'animated.gif': (gif, size, RED),
    'animated.webp': (webp, size, RED),
    'animated.png': (apng, size, RED),
    'really_a_png.jpg': (png, size, RED),
    'really_a_gif.webp': (gif, size, RED),
    'picture.bmp': (save(picture(), 'BMP'), size, RED),
    'picture.tif': (save(picture(), 'TIFF'), size, RED),
    'cmyk.tif': (save(picture('CMYK'), 'TIFF'), size, RED),
  }  # fmt: skip


def extreme():
  """Whole files that a filter leaves out: name -> (bytes, size)."""
  shapes = {'one_pixel.png': (1, 1), 'wide.png': (20_000, 70),
            'tall.jpg': (40, 20_000)}  # fmt: skip
  return {
    name: (
      save(
        PIL.Image.new('RGB', size, RED), 'PNG' if name[-3:] == 'png' else 'JPEG'
      ),
      size,
    )
    for name, size in shapes.items()
  }


def bad():
  """Files that cannot be used, and the reason that must be given."""
  rng = np.random.default_rng(0)
  noise = PIL.Image.fromarray(rng.integers(0, 256, (H, W, 3), np.uint8))
  jpg, png = save(noise, 'JPEG', quality=95), save(noise, 'PNG')
  webp = save(noise, 'WEBP')
  gif = save(noise.quantize(64), 'GIF')
  middle = len(png) // 2
  flipped = png[:middle] + bytes(b ^ 255 for b in png[middle : middle + 40])
  flipped += png[middle + 40 :]
  text = zlib.compress(b'a' * (4 << 20))
  text_bomb = png[:33] + png_chunk(b'zTXt', b'Comment\0\0' + text) + png[33:]
  deep = PIL.Image.fromarray(np.full([H, W], 1 << 20, np.int32))
  floats = PIL.Image.fromarray(np.full([H, W], 0.5, np.float32))
  return {
    'empty.jpg': (b'', 'empty file'),
    'cut.jpg': (jpg[: len(jpg) // 2], 'truncated'),
    'cut_late.jpg': (jpg[:-200], 'truncated'),
    'cut.png': (png[: len(png) // 2], 'truncated'),
    'cut.webp': (webp[: len(webp) // 2], 'damaged|truncated'),
    'cut.gif': (gif[: len(gif) // 2], 'truncated'),
    'start_only.jpg': (jpg[:20], 'truncated|not a picture|damaged'),
    'start_only.png': (png[:20], 'truncated|not a picture|damaged'),
    'page.jpg': (b'<!DOCTYPE html><html>404</html>' * 9, 'not a picture'),
    'words.jpg': (b'The picture is no longer available.\n', 'not a picture'),
    'drawing.jpg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'not a pict'),
    'program.jpg': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'
                    b'showpage\n', 'not a picture'),
    'noise.jpg': (rng.bytes(5000), 'not a picture'),
    'zeros.png': (bytes(5000), 'not a picture'),
    'archive.jpg': (b'PK\x03\x04' + rng.bytes(400), 'not a picture'),
    'bomb.png': (png_header(60_000, 60_000) + png[33:], 'too many pixels'),
    'bomb_smaller.png': (png_header(10_000, 9_500) + png[33:], 'too many pix'),
    'text_bomb.png': (text_bomb, 'too large a block of metadata'),
    'no_width.png': (png_header(0, 72) + png[33:], 'no pixels|damaged|not a'),
    'flipped.png': (flipped, 'damaged|truncated'),
    'no_data.png': (png_header(W, H) + png_chunk(b'IEND', b''), 'truncated|da'),
    'deep.tif': (save(deep, 'TIFF'), 'more than 16 bits a pixel'),
    'floats.tif': (save(floats, 'TIFF'), 'floating-point pixels'),
    'lost_directory.tif': (b'II*\0\xff\xff\xff\x7f' + bytes(90), 'damaged|not'),
  }  # fmt: skip
