"""The recipe of a picture, run as it stands, draws the same picture."""

import io
import pathlib
import shlex
import warnings

import numpy as np
import PIL.Image
import pytest

import imagen_jax
from imagen_jax import sample
from imagen_jax.files import pictures
from imagen_jax.pages.playground import drawing, orders, sources, writing
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.stages import settings as settings_lib
from tests.support import painting, tiny_cascade

DIRECTORY = tiny_cascade.directory
TITLE = '-- a \'red\' fox; $(rm) "at" sunset'


@pytest.fixture(autouse=True)
def _shared(monkeypatch, tmp_path):
  """Programs compiled once; files of their own."""

  cascade = tiny_cascade.load()  # by what is replaced below

  def load(path=None, **unused):
    assert path == str(DIRECTORY())
    return cascade

  monkeypatch.setattr(cascade_lib, 'load_cascade', load)
  monkeypatch.setattr(imagen_jax, 'load_cascade', load)
  monkeypatch.setattr(sample.compilation, 'enable_cache', lambda: None)
  monkeypatch.chdir(tmp_path)


def draw(**fields):
  """The finished job of a form."""
  kept = sources.Pictures()
  name, mask = fields.pop('file', None), fields.pop('mask_file', None)
  if name:
    data = painting.file(size=(24, 16), color=(200, 30, 30))
    pathlib.Path(name).write_bytes(data)
    fields['picture'] = kept.add(data, name).id
  if mask:
    image = PIL.Image.new('L', (24, 16))
    image.paste(255, (6, 4, 20, 12))
    image.save(mask)
    fields['mask'] = kept.add(pathlib.Path(mask).read_bytes(), mask).id
  with drawing.Studio(tiny_cascade.load()) as studio:
    job = studio.add(orders.read(fields, studio.cascade, kept.get))
    painting.wait_for(lambda: job.state in ('done', 'failed'), 300)
  assert not job.said
  return job


@pytest.mark.parametrize(
  'fields',
  [
    {'prompt': tiny_cascade.CAPTIONS[0], 'upto': '16'},
    {'prompt': TITLE, 'seed': '7', 'upto': '16', 'guidance_8': '2.3456789'},
    {
      'prompt': tiny_cascade.CAPTIONS[1],
      'steps_16': '2',
      'aug_level_16': '0.25',
      'upto': '16',
      'negative': 'a "blue" car',
    },
    {
      'prompt': tiny_cascade.CAPTIONS[2],
      'file': "it's mine.png",
      'strength': '0.5',
      'upto': '8',
    },
    {
      'prompt': tiny_cascade.CAPTIONS[2],
      'file': 'a.png',
      'mask_file': 'm.png',
      'change': 'mask',
      'upto': '8',
    },
    {
      'prompt': tiny_cascade.CAPTIONS[2],
      'file': 'a.png',
      'change': 'outpaint',
      'outpaint': '0.25',
      'strength': '0.8',
      'upto': '8',
    },
    {'file': 'a.png', 'change': 'upscale', 'upto': '16', 'steps_16': '2'},
    {'prompt': tiny_cascade.CAPTIONS[0], 'shape': 'wide', 'upto': '8'},
  ],
  ids=(
    'plain',
    'odd',
    'numbers',
    'from a picture',
    'a mask',
    'around',
    'enlarged',
    'wide',
  ),
)
def test_both_draw_it_again_bit_for_bit(fields, capsys):
  job = draw(**fields)
  image, text = pictures.read_png(io.BytesIO(job.png))
  where = str(DIRECTORY())
  cascade = tiny_cascade.load()
  command = shlex.split(writing.command(job.order, cascade, where))
  assert command[:3] == ['python', '-m', 'imagen_jax.sample']
  assert sample.main(['--out=again', *command[3:]]) == 0
  (again,) = pathlib.Path('again').iterdir()
  again, recipe = pictures.read_png(again)
  np.testing.assert_array_equal(again, image)
  assert recipe.pop('edit', '')[:21] == text.pop('edit', '')[:21]
  assert recipe == text  # nothing is missing from either
  scope = {}
  with warnings.catch_warnings():  # of strange words
    warnings.simplefilter('ignore')
    exec(writing.python(job.order, cascade, where), scope)
  np.testing.assert_array_equal(scope['images'], image[None])


def test_settings_of_all_kinds_are_read_back(monkeypatch):
  order = painting.order(
    preset='paper',
    sampler='heun',
    grid='karras',
    threshold='static',
    steps_16='3',
    guidance_8='1e-7',
    aug_level_32='1',
    upto='16',
    guidance_range='-5.5:3',
    cap='off,1.5',
    eta='0.25',
    margin='2',
  )
  cascade = tiny_cascade.load()
  command = shlex.split(writing.command(order, cascade, None))
  args = vars(sample.parser().parse_args(command[3:]))
  assert args['prompts'] == [order.prompt]
  names = ('upto', *settings_lib.deciding())
  assert cascade.plan(**{name: args[name] for name in names}) == order.plan
  given = {}
  monkeypatch.setattr(imagen_jax, 'load_cascade', lambda: Listener(given))
  exec(writing.python(order, cascade, None), {})
  seed = given.pop('seed')
  assert (seed, cascade.plan(**given)) == (order.seed, order.plan)


class Listener:
  """Stands where a cascade stands, and keeps what it is told."""

  def __init__(self, given):
    self._given = given

  def sample(self, prompts, **given):
    self._given |= given


def test_only_what_differs_is_written():
  order = painting.order(seed='3', preset='', steps_16='3')  # as it is anyhow
  cascade = tiny_cascade.load()
  assert writing.command(order, cascade, None) == (
    "python -m imagen_jax.sample --seed=3 'a red fox at sunset'"
  )
  assert writing.python(order, cascade, None) == (
    'import imagen_jax\n\ncascade = imagen_jax.load_cascade()\n'
    "images = cascade.sample(\n  ['a red fox at sunset'],\n  seed=3,\n)\n"
    '# uint8 [1, 32, 32, 3]\n'
  )
