"""The report on a run: one page that needs nothing else, and clear errors."""

import base64
import html.parser
import io
import json
import os
import re
import resource

import numpy as np
import PIL.Image
import pytest

from imagen_jax import report
from imagen_jax.files import pictures
from imagen_jax.training import hardware
from tests.pages.run_report import test_score_files as scores
from tests.support import bombs, work


class Reader(html.parser.HTMLParser):
  """What is in a page, and whether its elements are nested well."""

  VOID = ('meta', 'img', 'circle', 'path', 'rect', 'br')

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.attributes = [], [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def written(path, *flags):
  """The page that the command writes, read."""
  out = path / 'report.html'
  assert report.main([f'--workdir={path}', *flags]) == 0
  text = out.read_text(encoding='utf-8')
  reader = Reader()
  reader.feed(text)
  assert reader.open == []
  return text, reader


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  root = tmp_path_factory.mktemp('report')
  run = work.make(root / 'my <run>')
  (run / hardware.NAME).write_text(
    json.dumps({'step': 0, 'device': 'TPU v5e', 'devices': 256}) + '\n'
  )
  given = scores.write(root / 'scored', scores.of_protocol({'crop': 256}))
  return written(run, f'--scores={given}')


def test_it_needs_nothing_from_elsewhere(page):
  text, reader = page
  assert not {'script', 'link', 'iframe', 'object'} & set(reader.tags)
  for tag, attributes in reader.attributes:
    for name in ('src', 'href', 'srcset'):
      assert attributes.get(name, 'data:').startswith('data:'), tag
  style = text.partition('<style>')[2].partition('</style>')[0]
  assert not re.search(r'url\(|@import|https?:', style)
  policy = next(a for t, a in reader.attributes if 'http-equiv' in a)['content']
  assert policy.startswith("default-src 'none'")


def test_it_says_what_the_run_did(page):
  text, _ = page
  for said in (
    '<h1>my &lt;run&gt;</h1>',
    '<dt>steps</dt><dd>100<small>of 100</small>',
    '<dt>pictures seen</dt><dd>1,600<small>16 a step</small>',
    '256 x TPU v5e',
    '12.3457',
    scores.picture_sets.identity({'crop': 256}),
    'not bold',
    '<li>a &lt;fox&gt;</li>',
  ):
    assert said in text, said
  assert '<b>not' not in text and '<fox>' not in text


def test_everything_drawn_is_told_in_words(page):
  _, reader = page
  drawings = [a for t, a in reader.attributes if t == 'svg']
  assert len(drawings) == 9
  assert all(a['role'] == 'img' and len(a['aria-label']) > 40 for a in drawings)
  images = [a for t, a in reader.attributes if t == 'img']
  assert all('two keys' in a['alt'] for a in images)
  assert reader.tags.count('details') >= len(drawings)  # numbers beside each
  levels = [int(t[1]) for t in reader.tags if re.fullmatch('h[1-6]', t)]
  assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))


def test_samples_are_those_of_the_beginning_the_end_and_between(page):
  text, reader = page
  steps = [int(s) for s in re.findall('<figcaption>step (\\d+)<', text)]
  assert len(steps) == 8 and steps[0] == 10 and steps[-1] == 100
  images = [a['src'] for t, a in reader.attributes if t == 'img']
  for step, source in zip(steps, images):
    data = base64.b64decode(source.partition('base64,')[2])
    assert PIL.Image.open(io.BytesIO(data)).getpixel((0, 0)) == (step,) * 3


def test_large_sheets_are_made_smaller(tmp_path):
  path = work.make(tmp_path)
  image = PIL.Image.new('RGB', (1500, 3000), 'red')
  image.save(path / 'samples' / 'step_00000110.png')
  (path / 'samples' / 'step_00000050.png').write_bytes(b'no picture')
  text, _ = written(path)
  data = re.search('data:image/jpeg;base64,([^"]+)', text)[1]
  small = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
  assert small.width <= 1024 and small.width / small.height == 0.5
  assert 'of 11 sheets in samples/; step_00000050.png cannot be read' in text


def test_sheets_that_are_none_are_left_out(tmp_path):
  path = work.make(tmp_path)
  samples = path / 'samples'
  for step in range(10, 101, 10):
    (samples / f'step_{step:08d}.png').unlink()
  files = [bombs.png(12_000, 12_000), bombs.png(60_000, 60_000)]
  files.append(bombs.png(12_000, 7_000))  # less than Pillow warns of
  good = pictures.png(np.zeros([40, 20, 3], np.uint8), {})
  files.append(bombs.with_text(good, 'x', 200))
  for number, data in enumerate(files):
    (samples / f'step_{number}.png').write_bytes(data)
  os.mkfifo(samples / 'step_4.png')
  (samples / 'step_5.png').symlink_to('/dev/zero')
  (samples / 'step_6.png').write_bytes(good)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  text, reader = written(path)
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert reader.tags.count('img') == 1 and '1 of 7 sheets' in text
  assert grown < 200_000  # kB


@pytest.mark.parametrize(
  'line',
  [
    '"loss": Infinity',
    f'"loss": {"9" * 400}',
    f'"loss": -{"9" * 400}',
    '"loss": 1e308, "grad_norm": -1e308',
    f'"time": {"9" * 400}, "loss": 1e-320',
    '"time": 1e300, "loss": 0.5',
    '"peak_share": 1e308, "images_per_second": 1e308',
    '"validation_caption_gap": -1e308, "loss_logsnr_above_6": 1e308',
    '"new": 1e99',
    '"new": -1e99',
    '"loss": ' + '[' * 50_000,
    '"\\ud800": 1, "loss": 2',
  ],
)
def test_numbers_of_any_size_are_borne(tmp_path, line):
  path = work.make(tmp_path)
  with open(path / 'metrics.jsonl', 'a') as file:
    file.write(f'{{"step": 102, {line}}}\n{{"step": 104, {line}}}\n')
  text, _ = written(path)
  assert 'Training loss' in text


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('hardware.jsonl', '[' * 50_000),
    ('hardware.jsonl', '{"step": ' + '9' * 400 + '}'),
    ('stopped.json', '{"reason":' * 50_000),
    ('samples/captions.json', '[' * 50_000),
    ('samples/captions.json', '["\\ud800"]'),
    ('config.gin', 'train.TrainConfig.steps = "x"'),
    ('config.gin', 'train.TrainConfig.steps = ' + '9' * 400),
    ('config.gin', 'train.TrainConfig.batch_size = ' + '(' * 5_000),
    ('config.gin', 'optimizers.LearningRate.peak = 1e400'),
    ('config.gin', 'optimizers.LearningRate.warmup = ' + '1' * 400),
  ],
)
def test_files_beside_the_metrics_may_hold_anything(tmp_path, name, text):
  path = work.make(tmp_path)
  (path / name).write_text(text)
  assert 'Training loss' in written(path)[0]


@pytest.mark.parametrize('name', ['hardware.jsonl', 'config.gin'])
def test_pipes_beside_the_metrics_are_not_opened(tmp_path, name):
  path = work.make(tmp_path, config='')
  os.mkfifo(path / name)
  assert 'Training loss' in written(path)[0]


def test_a_run_with_little_to_tell(tmp_path, capsys):
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "loss": NaN}\n{"st\n')
  text, reader = written(tmp_path)
  assert 'svg' not in reader.tags and 'Hardware' in text
  said = capsys.readouterr()
  assert 'note: 1 line was skipped in metrics.jsonl' in said.err
  assert said.out.startswith(f'{tmp_path / "report.html"}: 0.0 MB, 1 report')


@pytest.mark.parametrize(
  ('make', 'flags', 'said'),
  [
    (False, [], 'has no metrics.jsonl'),
    (True, ['--scores=nowhere'], '--scores=nowhere does not exist'),
    (True, ['--out=no/such/place.html'], '--out=no/such/place.html cannot be'),
    (True, ['--workdir=nowhere'], '--workdir=nowhere is no directory'),
  ],
)
def test_bad_input_is_one_line(make, flags, said, tmp_path, capsys):
  if make:
    work.make(tmp_path, reports=2)
  assert report.main([f'--workdir={tmp_path}', *flags]) == 2
  error = capsys.readouterr().err.splitlines()
  assert len(error) == 1 and error[0].startswith('error: ') and said in error[0]
  assert not (tmp_path / 'report.html').exists()
  assert not list(tmp_path.glob('.*'))


def test_help_names_every_flag_with_its_default(capsys):
  with pytest.raises(SystemExit):
    report.main(['--help'])
  text = capsys.readouterr().out
  for action in report.parser()._actions[1:]:
    assert 'default' in action.help
    assert action.option_strings[0] in text
