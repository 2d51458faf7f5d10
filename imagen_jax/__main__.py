"""The commands of this package, by name.

python -m imagen_jax          lists them; so does imagen-jax
imagen-jax sample PROMPT ...  is python -m imagen_jax.sample PROMPT ...
"""

import difflib
import runpy
import sys

import imagen_jax
from imagen_jax.config import command

# Those of every day first, in the order of a day; then the others.
DAILY = {
  'sample': 'draw pictures of sentences',
  'serve': 'a page in the browser to draw on',
  'embed': 'compute the embeddings of captions once, for training',
  'train': 'train one stage of a cascade',
  'bind': 'bind trained stages and a text encoder into a cascade',
  'plan': 'what a training job costs on TPUs that are not there',
  'evaluate': 'score a cascade, by a split or by a protocol',
  'sweep': 'find the settings that a stage is best sampled with',
}
OTHERS = {
  'data_report': 'what is in a set of pictures and captions',
  'report': 'one page on a training run',
  'doctor': 'is a training run as it should be, and what to change',
  'fid': 'FID and KID between two directories of pictures',
  'clip_score': 'CLIP score of pictures that carry their prompts',
  'drawbench': 'draw DrawBench, ready for raters',
  'rate': 'let people compare the pictures of two models, blind',
  'guidance_curve': 'distance against alignment, over guidance',
  'build_tfds': 'make a TensorFlow data set of a folder or of shards',
  'pretrain_text': 'pre-train a tiny text encoder',
  'train_layout': 'train the stage that places things, before the base',
  'train_judge': 'train the learned judge of the embedded scenes',
  'import_if': 'make a cascade of the published DeepFloyd IF weights',
  'export_diffusers': 'write a stage of the IF kind as diffusers has it',
  'publish': 'put a cascade or a text encoder on the Hugging Face Hub',
  'export_stablehlo': 'write a cascade as programs that need no package',
  'convert_inception': "convert the published weights of FID's network",
}
COMMANDS = DAILY | OTHERS


def main(argv=None):
  """Runs the command that argv begins with; returns an exit code."""
  argv = sys.argv[1:] if argv is None else argv
  if not argv or argv[0] in ('-h', '--help', 'help'):
    print(listing())
    return 0
  if argv[0] == '--version':
    print(imagen_jax.__version__)
    return 0
  name = argv[0].replace('-', '_')
  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0)
    print(
      f'error: {argv[0]!r} is no command; the nearest is {near[0]}, and '
      'imagen-jax alone lists all',
      file=sys.stderr,
    )
    return 2
  sys.argv = [sys.argv[0], *argv[1:]]
  # As `python -m` does: a job that gin configures tells by its name that it
  # is the one that runs.
  runpy.run_module(f'imagen_jax.{name}', run_name='__main__', alter_sys=True)
  return 0


def listing():
  """All commands, a line each."""
  lines = [
    'imagen-jax COMMAND ..., the same as python -m imagen_jax.COMMAND ...',
    '',
    *_rows(DAILY),
    '',
    *_rows(OTHERS),
    '',
    'imagen-jax COMMAND --help tells what a command takes.',
  ]
  return '\n'.join(lines)


def _rows(commands):
  width = max(map(len, COMMANDS))
  return [f'  {name:{width}}  {what}' for name, what in commands.items()]


def run():
  """The console script imagen-jax."""
  command.run(main)


if __name__ == '__main__':
  run()
