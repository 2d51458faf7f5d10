"""The sample command: files, metadata, and one line for each bad input."""

import os
import pathlib
import shutil

import numpy as np
import PIL.Image
import pytest

from imagen_jax import sample
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import edits, gallery, sample_flags
from tests.support import tiny_cascade

FOX, KEYS, CAR = tiny_cascade.CAPTIONS


@pytest.fixture(autouse=True)
def _shared_cascade(monkeypatch, tmp_path):
  """Programs compiled once for all tests; pictures below tmp_path."""
  load = cascade_lib.load_cascade
  shared, directory = tiny_cascade.load(), str(tiny_cascade.directory())

  def load_cascade(path=None, **unused):
    return shared if path == directory else load(path)

  monkeypatch.setattr(cascade_lib, 'load_cascade', load_cascade)
  monkeypatch.setattr(sample.compilation, 'enable_cache', lambda: None)
  monkeypatch.chdir(tmp_path)


def run(capsys, *flags, cascade=True):
  """Exit code, lines on stdout, lines on stderr."""
  if cascade:
    flags = (*flags, f'--cascade={tiny_cascade.directory()}')
  try:
    code = sample.main(list(flags))
  except SystemExit as e:
    code = e.code
  captured = capsys.readouterr()
  return code, captured.out.splitlines(), captured.err.splitlines()


def test_pictures_and_their_metadata(capsys):
  code, out, err = run(
    capsys,
    FOX,
    KEYS,
    '--out=a/b',
    '--num_images=2',
    '--seed=7',
    '--upto=16',
    '--steps=2,3',
    '--aug_level=0.25',
  )
  assert (code, err) == (0, [])
  names = [
    'a-red-fox-at-sunset_seed7_0.png',
    'a-red-fox-at-sunset_seed7_1.png',
    'two-pink-keys-under-a-night-sky_seed7_0.png',
    'two-pink-keys-under-a-night-sky_seed7_1.png',
    'sheet.png',
  ]
  assert out == [f'a/b/{name}' for name in names]
  assert sorted(os.listdir('a/b')) == sorted(names)
  expected = tiny_cascade.load().sample(
    [FOX, KEYS], num_images=2, seed=7, upto=16, steps=[2, 3], aug_level=0.25
  )
  for name, image in zip(names, expected):
    drawn, text = pictures.read_png(f'a/b/{name}')
    np.testing.assert_array_equal(drawn, image)
  assert text.pop('software').startswith('imagen_jax ')
  assert text == {
    'prompt': KEYS,
    'seed': '7',
    'index': '1',
    'cascade': tiny_cascade.load().id,
    'resolution': '16',
    'sampler': 'ddpm,ddim',
    'grid': 'time,time',
    'steps': '2,3',
    'guidance': '3,3',
    'threshold': 'dynamic,dynamic',
    'percentile': '99.5,99.5',
    'aug_level': '0.25',
  }
  sheet, _ = pictures.read_png('a/b/sheet.png')
  for image in expected:  # each stands on the sheet as it is
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (16, 16, 3))
    assert (windows == image).all(axis=(-3, -2, -1)).any()


def test_a_sheet_that_would_fill_the_memory_is_left_out(capsys, monkeypatch):
  monkeypatch.setattr(pictures, 'SHEET_MOST', 2)
  for prompts, sheets in ((2, 1), (3, 0)):
    code, out, _ = run(
      capsys, *tiny_cascade.CAPTIONS[:prompts], '--upto=8', '--out=a'
    )
    assert code == 0 and sum('sheet' in path for path in out) == sheets


def test_a_picture_is_reproduced_from_its_file(capsys):
  flags = ['--guidance=2.3456789', '--sampler=heun', '--upto=8']
  run(
    capsys,
    CAR,
    '--out=a',
    '--num_images=2',
    '--seed=3',
    f'--negative={FOX}',
    *flags,
  )
  name = 'a-blue-car-to-the-left-of-a-yellow-star_seed3_1'
  image, text = pictures.read_png(f'a/{name}.png')
  assert text['guidance'] == '2.3456789' and text['negative'] == FOX
  code, out, _ = run(capsys, f'--reproduce=a/{name}.png', '--out=b')
  assert (code, out[1]) == (0, 'the same picture, bit for bit')
  again, recipe = pictures.read_png(f'b/{name}_again.png')
  np.testing.assert_array_equal(again, image)
  assert recipe == text
  # A picture that was painted over is another one.
  pictures.write_png('a/painted.png', 255 - image, text)
  code, out, _ = run(capsys, '--reproduce=a/painted.png', '--out=b')
  assert code == 1 and out[1].startswith('differs by at most')


def test_rare_settings_are_given_and_reproduced(capsys):
  flags = ['--sampler=ddim', '--eta=1', '--guidance_range=-2:20', '--upto=16']
  code, out, _ = run(
    capsys, FOX, *flags, '--cap=off,1.5', '--margin=2', '--out=a'
  )
  assert code == 0
  _, text = pictures.read_png(out[0])
  assert (text['eta'], text['guidance_range']) == ('1,1', '-2:20,-2:20')
  assert (text['cap'], text['margin']) == ('off,1.5', '2')
  expected = tiny_cascade.load().sample(
    [FOX],
    upto=16,
    sampler='ddim',
    eta=1.0,
    guidance_range=(-2.0, 20.0),
    cap=[None, 1.5],
    margin=2,
  )
  np.testing.assert_array_equal(pictures.read_png(out[0])[0], expected[0])
  code, said, _ = run(capsys, f'--reproduce={out[0]}', '--out=b')
  assert (code, said[1]) == (0, 'the same picture, bit for bit')


def test_what_cannot_be_reproduced(capsys):
  run(capsys, FOX, '--upto=8', '--out=a')
  path = 'a/a-red-fox-at-sunset_seed0_0.png'
  image, text = pictures.read_png(path)
  for changes, message in (
    ({'cascade': 'another'}, 'drawn by the cascade another, this one is'),
    ({'edit': 'from 0123'}, 'made of another picture (from 0123)'),
    ({'resolution': '9'}, 'upto is 9'),
    ({'steps': '0'}, 'steps is 0'),
    ({'steps': '9' * 5000}, 'the file was altered'),
    ({'steps': '1,2,3,4'}, 'steps has 4 values, 1 stages'),
    ({'guidance': 'nan'}, 'guidance is nan'),
    ({'percentile': '0.5'}, 'percentile is 0.5'),
    ({'index': '-1'}, 'index in its recipe is -1, which is not from 0'),
    ({'index': str(2**31)}, 'index in its recipe is 2147483648'),
    ({'seed': '-1'}, 'seed in its recipe is -1'),
    ({'seed': 'one'}, "seed in its recipe is 'one'; the file was altered"),
    ({'eta': 'much'}, "eta in its recipe is 'much'; the file was altered"),
    ({'eta': '2'}, 'eta is 2.0; it must lie in [0, 1]'),
    ({'hue': '1'}, "has a setting 'hue', which this release"),
    ({'prompt': 'a' * 10_001}, 'prompt in its recipe is too long'),
    ({'prompt': None}, 'has no recipe (prompt is missing)'),
  ):
    forged = {k: v for k, v in (text | changes).items() if v is not None}
    pictures.write_png('a/forged.png', image, forged)
    code, _, err = run(capsys, '--reproduce=a/forged.png', '--out=b')
    assert code == 2 and len(err) == 1 and message in err[0], err
  (code, _, err) = run(capsys, '--reproduce=nothing.png')
  assert code == 2 and 'nothing.png cannot be read' in err[0]


def test_a_strip_shows_how_a_picture_came_about(capsys):
  flags = ['--upto=16', '--steps=20,3', '--num_images=5']
  code, out, _ = run(capsys, FOX, *flags, '--save_steps', '--out=a')
  strips = [path for path in out if path.endswith('_steps.png')]
  charts = [path for path in out if path.endswith('_chart.png')]
  assert code == 0 and len(strips) == len(charts) == 5
  assert pictures.read_png(charts[0])[0].std() > 0
  strip, _ = pictures.read_png(strips[4])
  # 20 steps in sevens of 3 (the last of 2), then 3 one by one.
  assert strip.shape == (8 + 2 * 136, 8 + 7 * 136, 3)
  tiles = strip[8:].reshape(2, 136, -1, 3)[:, :128, 8:].reshape(2, 128, 7, -1)
  blank = (tiles == 255).all(axis=(1, 3))
  np.testing.assert_array_equal(blank[1], [False] * 3 + [True] * 4)
  assert not blank[0].any()
  # Looking on does not change the pictures.
  run(capsys, FOX, *flags, '--out=b')
  for path in out:
    if path not in strips + charts:
      a, b = (
        pictures.read_png(p)[0] for p in (path, path.replace('a/', 'b/', 1))
      )
      np.testing.assert_array_equal(a, b)


def test_a_picture_is_changed_and_enlarged(capsys):
  run(capsys, FOX, '--upto=16', '--out=a')
  path = 'a/a-red-fox-at-sunset_seed0_0.png'
  image = edits.square(pictures.read_png(path)[0], 8)
  mask = np.zeros((16, 16, 3), np.uint8)
  mask[:8] = 255
  pictures.write_png('mask.png', mask, {})
  code, (out,), _ = run(
    capsys, KEYS, f'--image={path}', '--mask=mask.png', '--upto=8', '--out=b'
  )
  changed, text = pictures.read_png(out)
  np.testing.assert_array_equal(changed[4:], image[4:])
  assert code == 0 and np.any(changed[:4] != image[:4])
  assert 'strength 1, resamples 5' in text['edit']
  code, (out,), err = run(capsys, f'--upscale={path}', '--out=b')
  assert (code, out, err) == (
    0,
    'b/a-red-fox-at-sunset_seed0_0_32x32.png',
    [],
  )
  assert pictures.read_png(out)[0].shape == (32, 32, 3)


def test_variations_are_drawn_by_the_prompt_of_the_picture(capsys):
  run(capsys, FOX, '--upto=8', '--out=a')
  path = 'a/a-red-fox-at-sunset_seed0_0.png'
  flags = [f'--variations={path}', '--upto=8', '--out=b', '--strength=0.5']
  code, out, err = run(capsys, *flags)
  drawn = [pictures.read_png(path) for path in out[:-1]]
  assert (code, err, len(drawn)) == (0, [], 4) and 'sheet' in out[-1]
  assert {text['prompt'] for _, text in drawn} == {FOX}
  assert 'strength 0.5' in drawn[0][1]['edit']
  for i, (a, _) in enumerate(drawn):
    assert all(np.any(a != b) for b, _ in drawn[:i])
  # Of a file without a recipe: by no caption, which is said.
  PIL.Image.new('RGB', (9, 9), 'red').save('red.png')
  flags = ['--variations=red.png', '--num_images=1', '--upto=8', '--out=b']
  code, out, err = run(capsys, *flags)
  assert code == 0 and len(out) == 1 and 'empty prompt' in err[0]


def test_pictures_between_prompts(capsys):
  code, out, _ = run(capsys, FOX, CAR, '--interpolate=3', '--upto=8', '--out=a')
  assert code == 0 and [path[-11:] for path in out] == [
    'between.png',
    'between.gif',
  ]
  _, text = pictures.read_png(out[0])
  assert text['edit'].startswith('interpolation, 3 pictures')
  assert text['prompt'] == f'{FOX} -> {CAR}'
  assert run(capsys, f'--reproduce={out[0]}', '--out=b')[0] == 2
  code, _, err = run(capsys, FOX, '--interpolate=3', '--out=a')
  assert code == 2 and '1 prompts to go between; give two or more' in err[0]


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--image=a.png', '--upscale=b.png'], '--image and --upscale are two'),
    (['--strength=0.5'], '--strength needs --image=FILE'),
    (['--mask=m.png'], '--mask needs --image=FILE'),
    (['--image=a', '--mask=m', '--outpaint=0.2'], 'leave out --mask'),
    (['--reproduce=a.png'], 'takes everything from the picture; leave out pro'),
    (['--reproduce=a.png', '--steps=4'], 'from the picture; leave out steps'),
    (['--upscale=a.png', '--num_images=2'], 'leave out --num_images'),
    (['--interpolate=1'], "'1' is no whole number (pictures) from 2"),
    (['--interpolate=5', '--image=a.png'], '--image and --interpolate are two'),
    (['--variations=none.png'], 'none.png cannot be read'),
    (['--variations=a.png', '--mask=m.png'], '--mask needs --image=FILE'),
    (['--image=none.png'], 'none.png cannot be read'),
    (['--sampler=magic'], "sampler 'magic' is not one of"),
    (['--grid=magic'], "grid 'magic' is not one of"),
    (['--preset=best'], "preset 'best' is not one of paper, fast, draft"),
    (['--threshold=hard'], "threshold 'hard' is not one of"),
    (['--percentile=0'], 'percentile is 0.0; it must lie in (1, 100]'),
    (['--size=20x8'], 'the size is 20 x 8 (width x height); at 32 px this'),
    (['--size=20'], "'20' is no size; write WIDTHxHEIGHT, such as 1536x1024"),
    (['--size=16x99999'], "'16x99999' is no size"),
    (['--size=16x16', '--image=a.png'], 'leave out --size'),
    (['--size=16x16', '--upscale=a.png'], 'leave out --size'),
    (['--shard=9'], '--shard packs a list; give --prompts_file=FILE'),
    (['--percentile=101'], 'percentile is 101.0; it must lie in (1, 100]'),
    (['--guidance=-1'], 'guidance is -1.0; it must be 0 or more (1 = off)'),
    (['--guidance=nan'], 'guidance is nan'),
    (['--guidance_range=5:-5'], 'it must rise, from the noisier logsnr'),
    (['--guidance_range=5'], "'5' is no list of ranges FROM:TO or off"),
    (['--cap=0'], 'cap is 0.0; it must be at least 1, or be off'),
    (['--eta=off'], "'off' is no list of numbers separated by commas"),
    (['--eta=1,1'], 'eta has 2 values, 3 stages are drawn (8, 16, 32)'),
    (['--reproduce=a.png', '--no-in_turn'], 'leave out in_turn'),
    (['--devices=9'], '--devices=9, but there are 8 here; give no more'),
    (['--hosts=2'], '--hosts shares out a list; give --prompts_file'),
    (['--hosts=2', '--host=2'], '--host=2 of --hosts=2: give a host from 0'),
    ([KEYS, '--upscale=a.png'], '2 prompts for the one picture'),
  ],
)
def test_flags_that_make_no_sense(capsys, flags, message):
  code, _, err = run(capsys, FOX, *flags)
  assert code == 2 and len(err) == 1 and message in err[0], err


@pytest.mark.filterwarnings('error')
def test_pictures_that_cannot_be_changed(capsys):
  PIL.Image.new('RGB', (16, 16), 'red').save('a.png')
  PIL.Image.new('L', (16, 8), 255).save('small.png')
  PIL.Image.new('1', (10_000, 9_000)).save('huge.png')
  pathlib.Path('text.png').write_text('words')
  for flags, message in (
    (['--image=a.png', '--mask=small.png'], 'small.png is 16 x 8, the picture'),
    (['--image=a.png', '--strength=1.1'], 'strength is 1.1; it must lie in'),
    (['--image=a.png', '--strength=nan'], 'strength is nan'),
    (['--image=a.png', '--outpaint=0.5'], 'outpaint is 0.5'),
    (['--image=text.png'], 'text.png cannot be used: not a picture'),
    (['--image=huge.png'], 'huge.png cannot be used: too many pixels'),
    (['--upscale=huge.png'], 'huge.png cannot be used: too many pixels'),
    (['--reproduce=a.png'], 'a.png has no recipe'),
  ):
    job = [] if flags[0].startswith('--reproduce') else [FOX]
    if flags[0].startswith('--image'):
      job.append('--upto=8')
    code, _, err = run(capsys, *job, *flags, '--out=b')
    assert code == 2 and len(err) == 1 and message in err[0], err


def test_bar_counts_the_steps_of_all_stages_and_groups(capsys, monkeypatch):
  bars = []

  class Recorder:
    def __init__(self, total, **unused):
      self.total, self.n, self.seen = total, 0, []
      bars.append(self)

    def set_description_str(self, text):
      self.seen.append(text)

    def update(self, n):
      assert n >= 0
      self.n += n

    def close(self):
      assert self.n == self.total

  monkeypatch.setattr(gallery.tqdm, 'tqdm', Recorder)
  # Five pictures: groups of 4 and 1, batches of 4 and 2.
  code, _, _ = run(capsys, FOX, '--num_images=5', '--upto=16', '--out=a')
  assert code == 0
  assert bars[0].total == 2 * 5 + 3 * 3
  assert list(dict.fromkeys(bars[0].seen)) == ['8 px', '16 px']


@pytest.mark.parametrize(
  ('prompt', 'warning'),
  [
    ('', "warning: an empty prompt is drawn from the empty caption's"),
    ('a purple fox', 'words outside the vocabulary of this cascade: purple'),
    (' '.join(['a red fox'] * 9), 'is longer than 12 tokens; cut off:'),
  ],
)
def test_odd_prompts_are_drawn_with_a_warning(capsys, prompt, warning):
  code, out, err = run(capsys, prompt, '--upto=8', '--out=a')
  assert code == 0
  assert len(err) == 1 and warning in err[0]
  assert pictures.read_png(out[0])[1]['prompt'] == prompt


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ([], 'no prompt given'),
    (['--prompts_file=none.txt'], '--prompts_file=none.txt cannot be read'),
    (['a \udcff fox'], 'is not UTF-8 text; type it again'),
    ([FOX, '--upto=64'], 'upto is 64, the stages of this cascade end at'),
    ([FOX, '--upto=x'], "--upto: 'x' is no whole number (pixels)"),
    ([FOX, '--steps=0'], 'steps is 0; it must be a whole number from 1'),
    ([FOX, '--steps=2.5'], "'2.5' is no list of whole numbers"),
    ([FOX, '--steps=1,2'], 'steps has 2 values, 3 stages are drawn'),
    ([FOX, '--guidance=high'], "'high' is no list of numbers"),
    ([FOX, '--guidance=1,2,3,4'], 'guidance has 4 values, 3 stages are drawn'),
    ([FOX, '--aug_level=2'], 'aug_level is 2.0; it must lie in [0, 1]'),
    ([FOX, '--num_images=0'], "'0' is no whole number (pictures) from 1"),
    ([FOX, '--seed=-1'], "'-1' is no whole number (seed) from 0"),
    ([FOX, '--sead=1'], 'unknown flag --sead: the nearest is --seed'),
    ([FOX, '--out=file/below'], '--out=file/below cannot be written'),
    ([FOX, '--cascade=none'], 'cascade directory none does not exist'),
    ([FOX, '--cascade=.'], 'has no cascade.json'),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, flags, message):
  pathlib.Path('file').write_text('')
  wrong_cascade = any(flag.startswith('--cascade') for flag in flags)
  code, out, err = run(capsys, *flags, cascade=not wrong_cascade)
  assert (code, out) == (2, [])
  assert len(err) == 1 and err[0].startswith('error: ')
  assert message in err[0]


def test_damaged_weights(capsys, tmp_path):
  copy = shutil.copytree(tiny_cascade.directory(), tmp_path / 'copy')
  path = copy / 'stage_8' / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:100])
  code, _, err = run(capsys, FOX, f'--cascade={copy}', cascade=False)
  assert code == 2 and len(err) == 1
  assert 'stage_8/model.safetensors is truncated or altered' in err[0]


def test_disk_that_fills_up_while_drawing(capsys, monkeypatch):
  def full(*unused):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(pictures, 'write_png', full)
  code, _, err = run(capsys, FOX, '--upto=8', '--out=a')
  assert code == 2
  assert len(err) == 1 and 'No space left on device' in err[0]


def test_help_names_every_flag_with_its_default(capsys):
  code, out, _ = run(capsys, '--help')
  assert code == 0
  text = ' '.join(' '.join(out).split())
  for action in sample_flags.parser()._actions:
    if action.dest == 'help':
      continue
    assert '(default: ' in action.help
    assert all(option in text for option in action.option_strings)
  for unit in ('pixels', 'pictures per prompt', 'network evaluations'):
    assert unit in text.lower()
