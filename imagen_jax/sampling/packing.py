"""Tar files of pictures: a long list in parts, each written when it is whole.

Not in the paper. The layout is that of img2dataset, which `data.shards` reads:
000001234.png, .txt (the prompt) and .json (the recipe), in the list's order.
"""

import io
import json
import os
import pathlib
import tarfile
import uuid

from imagen_jax.files import json_files


def path(out, number: int) -> pathlib.Path:
  """Where part `number` of a list goes."""
  return pathlib.Path(out) / f'{number:05d}.tar'


def write(target, files, texts) -> None:
  """Writes a tar file; whole or not at all.

  Args:
    target: its path.
    files: {number in the list: path of the PNG}.
    texts: {number: its recipe}.
  """
  fresh = pathlib.Path(target).with_name(f'.{uuid.uuid4().hex[:8]}.part')
  try:
    with tarfile.open(fresh, 'w') as tar:
      for number, path in files.items():
        text = texts[number]
        _add(tar, f'{number:09d}.png', pathlib.Path(path).read_bytes())
        _add(tar, f'{number:09d}.txt', text['prompt'].encode())
        table = json.dumps(dict(text), ensure_ascii=False)
        _add(tar, f'{number:09d}.json', table.encode())
    os.replace(fresh, target)
  finally:
    fresh.unlink(missing_ok=True)


def _add(tar, name, data):
  # No times and no owners: the same pictures are the same file.
  info = tarfile.TarInfo(name)
  info.size = len(data)
  tar.addfile(info, io.BytesIO(data))


def recipes(target) -> dict[int, dict[str, str]] | None:
  """{number in the list: recipe} of a part; None where it is not whole."""
  try:
    return {
      n: json_files.parse(data, target) for n, data in _members(target, 'json')
    }
  except (OSError, ValueError, tarfile.TarError):
    return None


def pictures(target):
  """Yields (number in the list, PNG file as bytes)."""
  return _members(target, 'png')


def _members(target, wanted):
  with tarfile.open(target) as tar:
    for info in tar:
      number, _, kind = info.name.partition('.')
      if kind == wanted:
        yield int(number), tar.extractfile(info).read()
