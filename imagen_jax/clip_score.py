"""CLIP score of pictures that carry their prompts, as `sample` writes them.

  python -m imagen_jax.clip_score --images=DIR --clip=DIR

The model is a directory of Hugging Face's with config.json, safetensors and
tokenizer; the paper does not say which it took, follow-ups take ViT-L/14. A
score is printed with the model's name and hash. The cosines are kept in --out,
one line a picture, and the same command goes on where it was interrupted.
"""

import pathlib

import tqdm

from imagen_jax.config import command, flags
from imagen_jax.evaluation import clip_score, picture_files, records
from imagen_jax.files import pictures, weights
from imagen_jax.parallel import compilation

SCORES = 'scores.json'
RECORDS = 'pictures.jsonl'
_KEY = 'file', 'prompt', 'bytes', 'modified'  # of a record


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.clip_score',
    description='CLIP score of pictures that carry their prompts.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--images',
    required=True,
    metavar='DIR',
    help='PNG files with their prompts in the metadata, with all below (no '
    'default)',
  )
  add(
    '--clip',
    required=True,
    metavar='DIR',
    help="a CLIP model in Hugging Face's form: config.json, safetensors, "
    'tokenizer.json or vocab.json and merges.txt (no default)',
  )
  add(
    '--batch',
    type=flags.whole('pictures', 1, 65536),
    default=clip_score.BATCH,
    metavar='N',
    help=f'pictures at a time, over all devices (default: {clip_score.BATCH})',
  )
  add(
    '--out',
    default='clip_score',
    metavar='DIR',
    help='directory for cosines and score (default: clip_score)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    compilation.enable_cache()
    found, left_out = prompted(args.images)
    clip = clip_score.load(args.clip, batch=args.batch)
    records.claim(out, {'clip': clip.sha256, 'images': str(args.images)})
    cosines = measure(clip, found, out / RECORDS)
    cut = clip.tokenizer.truncated([prompt for _, prompt in found])
    score = {
      **clip_score.summary(cosines),
      'model': clip.name,
      'sha256': clip.sha256,
      'cut_prompts': int(cut.sum()),
    }
    weights.save_json(out / SCORES, score)
  except (ValueError, OSError) as e:
    return flags.failed(e, out)
  print(report(score, clip, left_out))
  return 0


def prompted(directory):
  """([(path, prompt)], number of pictures without one)."""
  found, left_out = [], 0
  for path in picture_files.listing(directory):
    text = {} if path.suffix.lower() != '.png' else pictures.read_text(path)
    if text is None:
      raise ValueError(f'{path} cannot be read: it is no whole PNG file')
    if 'prompt' in text:
      found.append((path, text['prompt']))
    else:
      left_out += 1
  if not found:
    raise ValueError(
      f'{directory} has {left_out} pictures and none with its prompt in the '
      'metadata; give PNG files that imagen_jax.sample wrote'
    )
  return found, left_out


def measure(clip, found, path):
  """The cosine of every picture; those on record are not measured again."""
  before = records.read(path)
  done = {tuple(r.get(name) for name in _KEY): r for r in before.values()}
  keys = [_key(path, prompt) for path, prompt in found]
  missing = [(f, key) for f, key in zip(found, keys) if key not in done]
  number = max(before, default=-1) + 1

  def load(item):
    return clip.prepare(picture_files.read(item[0][0]))

  with tqdm.tqdm(
    total=len(found),
    initial=len(found) - len(missing),
    unit='picture',
    disable=None,
  ) as bar:
    for items, prepared in picture_files.in_batches(load, missing, clip.batch):
      captions = [prompt for (_, prompt), _ in items]
      for (_, key), cosine in zip(items, clip.cosines(captions, prepared)):
        done[key] = {
          'index': number,
          **dict(zip(_KEY, key)),
          'cosine': float(cosine),
        }
        records.append(path, done[key])
        number += 1
        bar.update()
  return [done[key]['cosine'] for key in keys]


def _key(path, prompt):
  """What makes a picture the one on record: drawn anew it is another.

  Pictures of the same size are not rare: small ones differ in a few hundred
  bytes, and one in a thousand would keep the score of the one before it.
  """
  about = path.stat()
  return str(path), prompt, about.st_size, about.st_mtime_ns


def report(score, clip, left_out):
  """What is printed."""
  lines = [
    f'CLIP score  {score["clip_score"]:.2f} +- {score["standard_error"]:.2f} '
    f'({score["convention"]} over {score["n"]:,} pictures, +- its standard '
    'error)',
    f"cosine      {score['cosine']:.4f} (its mean, the scale of the paper's "
    'figures)',
    f'model       {score["model"]}, sha256 {score["sha256"][:12]}, '
    f'{clip.image_config.num_layers} layers, patches of '
    f'{clip.image_config.patch} px in {clip.image_config.resolution}',
  ]
  if score['cut_prompts']:
    lines.append(
      f'cut         {score["cut_prompts"]:,} prompts to '
      f'{clip.tokenizer.max_length} tokens'
    )
  if left_out:
    lines.append(f'left out    {left_out:,} pictures without a prompt')
  return '\n'.join(lines)


if __name__ == '__main__':
  command.run(main)
