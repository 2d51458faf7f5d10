"""Small files that are pictures of gigabytes."""

import struct
import zlib


def png(width, height, rows=3):
  """A PNG file of a size, of whose rows, all black, only some are there."""
  pixels = zlib.compress(bytes((1 + 3 * width) * rows), 9)
  about = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  return (
    b'\x89PNG\r\n\x1a\n'
    + _chunk(b'IHDR', about)
    + _chunk(b'IDAT', pixels)
    + _chunk(b'IEND', b'')
  )


def with_text(data, key, megabytes):
  """A PNG file with a compressed text of so many megabytes."""
  text = key.encode() + b'\0\0' + zlib.compress(bytes(megabytes << 20), 9)
  return data[:33] + _chunk(b'zTXt', text) + data[33:]


def _chunk(kind, data):
  checksum = struct.pack('>I', zlib.crc32(kind + data))
  return struct.pack('>I', len(data)) + kind + data + checksum
