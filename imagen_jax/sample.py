"""Draws pictures of sentences with a cascade; section 2 of the paper.

  python -m imagen_jax.sample "a red fox at sunset" --out=DIR

Writes one PNG per picture, named after its prompt, with the recipe in its
metadata, and a contact sheet, sheet.png, where there are 2 to 5,000. Starts
from a picture with --image, enlarges one with --upscale, draws one again with
--reproduce.
"""

import itertools
import pathlib
import sys
import tempfile
import time

import jax
import numpy as np

from imagen_jax import stages
from imagen_jax.config import command, flags
from imagen_jax.files import pictures
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import (
  edits,
  gallery,
  layout_files,
  packing,
  recipes,
  sample_flags,
  setting_flags,
)
from imagen_jax.sampling import prompts as prompts_lib

parser = sample_flags.parser
# Endings that say --out is a file.
_PICTURES = ('.png', '.jpg', '.jpeg', '.webp', '.gif', '.bmp', '.tif', '.tiff')


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    sample_flags.check_together(args)
    if args.reproduce:
      return reproduce(args)
    if args.variations:
      sample_flags.vary(args)
    prompts, complaints = prompts_lib.read(args.prompts, args.prompts_file)
    if complaints and not prompts:
      raise ValueError(complaints[0])
    check_prompts(prompts, args.upscale)
    out, file = destination(args.out)
    if file:
      check_one(args, prompts)
    compilation.enable_cache()
    cascade = cascade_lib.load_cascade(
      args.cascade, devices=devices(args), rows_from=args.rows_from
    )
    plan = cascade.plan(
      upto=args.upto, preset=args.preset, **setting_flags.given(args)
    )
    stages.picture_sizes(cascade.stages[: len(plan)], args.size)
    source = read_source(args, cascade.stages[len(plan) - 1].resolution)
    layout = read_layout(args.layout, cascade)
  except (ValueError, MemoryError) as e:
    return flags.failed(e, args.out)
  if cascade.licence:
    print(f'licence of the weights: {cascade.licence}', file=sys.stderr)
  for remark in cascade.remarks(prompts):
    print(f'warning: {remark}', file=sys.stderr)
  for complaint in complaints:
    print(f'error: {complaint}', file=sys.stderr)
  try:
    if args.upscale:
      caption = (*prompts, '')[0]
      for path in gallery.enlarge(
        cascade, plan, args.upscale, caption, args.seed, out, file
      ):
        print(path)
      return int(bool(complaints))
    order = gallery.Order(
      cascade=cascade,
      plan=plan,
      prompts=prompts,
      out=out,
      file=file,
      num_images=args.num_images or 1,
      seed=args.seed,
      size=args.size,
      negative=args.negative,
      source=source,
      layout=layout,
      save_steps=args.save_steps,
    )
    if args.interpolate:
      print(*gallery.interpolate(order, args.interpolate), sep='\n')
      return int(bool(complaints))
    if args.prompts_file:
      return draw_list(order, args.host, args.hosts, args.shard) or int(
        bool(complaints)
      )
    for path in gallery.draw(order):
      print(path)
    if sheet := gallery.write_sheet(order):
      print(sheet)
  except (ValueError, FloatingPointError, OSError, MemoryError) as e:
    return flags.failed(e, out)
  return 0


def draw_list(order, host, hosts, shard):
  """Draws what is not there yet of a long list; the exit code.

  A picture that comes to nothing is told and does not stop the others.
  """
  tally = {'drawn': 0, 'there': 0, 'failed': 0, 'seconds': 0.0}
  requests = order.requests()
  try:
    if shard is None:
      draw_missing(order, requests[host::hosts], tally)
    else:
      for number in range(-(-len(requests) // shard))[host::hosts]:
        part = range(len(requests))[number * shard :][:shard]
        draw_shard(order, number, {n: requests[n] for n in part}, tally)
  except KeyboardInterrupt:
    print('stopped; the same command goes on', file=sys.stderr)
    return 130
  if hosts == 1 and shard is None and (sheet := gallery.write_sheet(order)):
    print(sheet)
  rate = tally['drawn'] / tally['seconds'] if tally['drawn'] else 0
  print(
    f'drew {tally["drawn"]} pictures in {tally["seconds"]:.1f} s, {rate:.3g} '
    f'images/s; {tally["there"]} were there, {tally["failed"]} failed',
    file=sys.stderr,
  )
  return int(bool(tally['failed']))


def draw_missing(order, requests, tally, quiet=False):
  """Draws those of the requests that are not there; how many failed."""
  there, failures = set(gallery.kept(order, requests)), []

  def failed(request, error):
    failures.append(request)
    print(f'error: {request.caption!r}: {error}', file=sys.stderr)

  missing = [r for r in requests if r not in there]
  paths = [order.path(r) for r in requests if r in there]
  begun = time.monotonic()
  for path in itertools.chain(paths, gallery.draw(order, missing, failed)):
    if not quiet:
      print(path, flush=True)
  tally['seconds'] += time.monotonic() - begun
  tally['there'] += len(there)
  tally['drawn'] += len(missing) - len(failures)
  tally['failed'] += len(failures)
  return len(failures)


def draw_shard(order, number, part, tally):
  """Draws what is missing of {number in the list: request} and packs it all.

  Where a picture came to nothing the others stay files, for the next run.
  """
  target = packing.path(order.out, number)
  recipes_of = {n: order.recipe(request) for n, request in part.items()}
  packed = packing.recipes(target) or {}
  for n, text in packed.items():
    if other := recipes.difference(text, recipes_of.get(n, {})):
      raise ValueError(
        f'{target} is there, its picture {n} drawn with {other}; give another '
        '--out, or the same list and settings to go on'
      )
  if packed.keys() == part.keys():
    tally['there'] += len(part)
    _tidy(order, part)  # killed before it was done
    print(target)
    return
  if packed:  # the list has grown since
    for n, data in packing.pictures(target):
      pictures.write(order.path(part[n]), data)
  if draw_missing(order, [*part.values()], tally, quiet=True):
    return
  packing.write(target, {n: order.path(r) for n, r in part.items()}, recipes_of)
  _tidy(order, part)
  print(target, flush=True)


def _tidy(order, part):
  """Removes the files of pictures that are packed."""
  for request in part.values():
    order.path(request).unlink(missing_ok=True)


def devices(args):
  """The first --devices of this process."""
  local = jax.local_devices()
  if args.devices is not None and args.devices > len(local):
    raise ValueError(
      f'--devices={args.devices}, but there are {len(local)} here; give no more'
    )
  return local[: args.devices]


def read_layout(path, cascade):
  """The boxes in a file, checked to be words of the cascade; None = none."""
  if path is None:
    return None
  boxes = layout_files.read(path)
  if cascade.stages[0].layout is None:
    raise ValueError(
      f'--layout={path}: the base of this cascade is not told of layouts; '
      'leave the flag out'
    )
  layout_files.rows(cascade.stages[0].layout, boxes, 1)
  return boxes


def read_source(args, resolution):
  """The `edits.Source` that the flags ask for, or None."""
  if not args.image:
    return None
  picture = edits.read(args.image)
  mask = args.mask and edits.read_mask(args.mask, picture)
  if picture.shape[0] != picture.shape[1]:
    print(
      f'note: the centre of {args.image} is cut to a square', file=sys.stderr
    )
  picture = edits.square(picture, resolution)
  if mask is not None:
    mask = edits.square(mask, resolution)
  if args.outpaint is not None:
    picture, mask = edits.outpainting(picture, args.outpaint)
  whole = edits.STRENGTH if mask is None else 1.0
  return edits.Source(
    picture=picture,
    mask=mask,
    strength=whole if args.strength is None else args.strength,
    resamples=args.resamples,
  )


def reproduce(args):
  """Draws a picture again; the exit code, 1 where it is another one."""
  stored, text = pictures.read_png(args.reproduce)
  recipe = recipes.read(text, args.reproduce)
  if recipe.size not in (None, stored.shape[:2]):
    raise ValueError(
      f'{args.reproduce} is of {stored.shape[1]} x {stored.shape[0]} pixels, '
      f'its recipe says {recipe.size[1]} x {recipe.size[0]}; it was altered'
    )
  out, file = destination(args.out)
  compilation.enable_cache()
  cascade = cascade_lib.load_cascade(args.cascade)
  path, image = gallery.draw_again(cascade, recipe, args.reproduce, out, file)
  print(path)
  if image.shape != stored.shape:
    print(f'another size: {image.shape[0]} px, {stored.shape[0]} px before')
    return 1
  difference = np.abs(image.astype(int) - stored)
  if not difference.any():
    print('the same picture, bit for bit')
    return 0
  print(
    f'differs by at most {difference.max()}/255, on average by '
    f'{difference.mean():.3f}/255'
  )
  return int(difference.max() > sample_flags.SAME)


def check_prompts(prompts, upscale):
  """Raises ValueError where there are none, or too many to `upscale` by."""
  if upscale and len(prompts) > 1:
    raise ValueError(
      f'{len(prompts)} prompts for the one picture of --upscale; give one '
      'that says what it shows, or none'
    )
  if not prompts and not upscale:
    raise ValueError(
      'no prompt given; write one, such as "a red fox at sunset", or give '
      '--prompts_file=FILE'
    )


def destination(out):
  """--out as (directory, file): a file, or None where a directory is meant."""
  path = pathlib.Path(out)
  kind = path.suffix.lower()
  if kind not in _PICTURES or path.is_dir():
    return writable(path), None
  if kind != '.png':
    raise ValueError(
      f'--out={out}: pictures are PNG files, with their recipe in them; give '
      f'{path.with_suffix(".png").name}, or a directory'
    )
  return writable(path.parent), path


def check_one(args, prompts):
  """Raises ValueError where what is drawn is no single file."""
  what = ('prompts_file', 'interpolate', 'save_steps')
  several = [f'--{name}' for name in what if getattr(args, name)]
  count = len(prompts) * (args.num_images or 1)
  if count > 1 and not args.upscale:
    several.append(f'{count} pictures')
  if several:
    raise ValueError(
      f'--out={args.out} is one file, too few for {several[0]}; give '
      'a directory'
    )


def writable(directory):
  """`directory` as a path, made if need be; ValueError if it cannot be."""
  path = pathlib.Path(directory)
  try:
    path.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=path).close()
  except OSError as e:
    raise ValueError(
      f'--out={directory} cannot be written: {e.strerror}; give another '
      'directory'
    ) from e
  return path


if __name__ == '__main__':
  command.run(main)
