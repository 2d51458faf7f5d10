"""gin files: modules that moved, bounds, circles of includes."""

import importlib
import pathlib
import subprocess
import sys

import pytest

import gin
from imagen_jax.stages import Stage
from imagen_jax.training import gin_files, gin_jobs, jobs

HEAD = 'from __gin__ import dynamic_registration\n'

# As a leaf of the release before these modules moved begins.
OLD = (
  HEAD
  + """
from imagen_jax import jobs
from imagen_jax import partitioning
from imagen_jax import stages
from imagen_jax.data import pipeline
from imagen_jax.diffusion import schedules
from imagen_jax.models import unet

stages.Stage:
  name = 'tiny'
  resolution = 8
  schedule = @schedules.Cosine()
  model = @unet.UNetConfig()
  text_width = 256
  max_length = 32
unet.UNetConfig:
  resolution = 8
  widths = (8, 8)
  embedding_width = 8
  text_width = 256
  groups = 2
  blocks = (1, 1)
  attention = (4,)
  head_width = 4
pipeline.Pictures.resolution = 8
jobs.TrainConfig:
  stage = @stages.Stage()
  data = @pipeline.EmojiScenes()
  pictures = @pipeline.Pictures()
  mesh = @partitioning.MeshConfig()
  batch_size = 4
partitioning.MeshConfig.fsdp = 2
"""
)


@pytest.fixture(autouse=True)
def _clean():
  yield
  gin.clear_config(clear_constants=True)


def _written(directory, text, name='leaf.gin'):
  path = directory / name
  path.write_text(text)
  return path


def _configured(*paths, bindings=()):
  return gin_jobs.configure(paths, list(bindings), jobs.TrainConfig)


def test_a_leaf_of_before_is_read_and_told(tmp_path, capsys):
  config = _configured(_written(tmp_path, OLD))
  assert config.mesh.fsdp == 2 and config.batch_size == 4
  assert isinstance(config.stage, Stage)
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('warning: leaf.gin')
  assert 'imagen_jax.jobs is now imagen_jax.training.jobs' in line
  assert 'imagen_jax.parallel.partitioning' in line


def test_the_config_of_a_run_of_before_is_read(tmp_path, capsys):
  """config.gin names each parameter; what is written now names new places."""
  new = _configured(_written(tmp_path, OLD))
  written = gin.operative_config_str()
  gin.clear_config(clear_constants=True)
  assert 'from imagen_jax.training import jobs' in written
  before = written.replace(
    'imagen_jax.training import jobs', 'imagen_jax import jobs'
  )
  before = before.replace('imagen_jax.parallel import', 'imagen_jax import')
  capsys.readouterr()
  assert _configured(_written(tmp_path, before, 'config.gin')) == new
  assert len(capsys.readouterr().err.splitlines()) == 1
  gin.clear_config(clear_constants=True)
  assert _configured(_written(tmp_path, written, 'config.gin')) == new
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
  'before, after, use',
  [
    ('import imagen_jax.jobs', 'imagen_jax.training.jobs', 'imagen_jax.jobs'),
    ('import imagen_jax.jobs as j', 'imagen_jax.training.jobs', 'j'),
    (
      'from imagen_jax import jobs as j',
      'imagen_jax.training import jobs',
      'j',
    ),
  ],
)
def test_every_way_to_import(before, after, use, tmp_path, capsys):
  text = OLD.replace('from imagen_jax import jobs', before)
  text = text.replace('jobs.TrainConfig:', f'{use}.TrainConfig:')
  assert after in gin_files.moved(text, 'x')
  assert _configured(_written(tmp_path, text)).batch_size == 4
  assert 'imagen_jax.training.jobs' in capsys.readouterr().err


@pytest.mark.parametrize('old, new', sorted(gin_files.MOVED.items()))
def test_each_module_that_moved(old, new, capsys):
  importlib.import_module(new)
  with pytest.raises(ImportError):
    importlib.import_module(old)
  package, _, name = old.rpartition('.')
  text = gin_files.moved(f'{HEAD}from {package} import {name}\n', 'x')
  gin.parse_config(text)
  module, _, last = new.rpartition('.')
  bound = f'from {module} import {last}'
  bound += f' as {name}' if name != last else ''
  assert text == f'{HEAD}{bound}\n'
  assert f'{old} is now {new}' in capsys.readouterr().err


def test_an_objective_of_before_is_read_under_its_old_name(tmp_path):
  """A module that changed its name too keeps the one that the leaf uses."""
  path = _written(
    tmp_path,
    HEAD
    + 'from imagen_jax.text import corruption\n'
    + 'from imagen_jax.pretraining import spans\n'
    + 'corruption.SpanCorruption.density = 0.25\n'
    + 'spans.Spans.corruption = @corruption.SpanCorruption()\n',
  )
  for part in gin_files.parts(str(path)):
    gin.parse_config(part)
  from imagen_jax.training.pretraining import spans

  assert gin.get_configurable(spans.SpanCorruption)().density == 0.25


def test_what_stands_in_strings_and_comments_stays(capsys):
  text = "# from imagen_jax import jobs\nA = 'imagen_jax.jobs'\nB = 1\n"
  assert gin_files.moved(text, 'x') == text
  assert capsys.readouterr().err == ''


def test_a_binding_of_the_command_line_may_name_the_old_place(tmp_path):
  """In a process of its own: gin names a class by whoever bound it first."""
  path = _written(tmp_path, OLD)
  program = (
    'from imagen_jax.training import gin_jobs, jobs\n'
    "bound = ['imagen_jax.jobs.TrainConfig.batch_size=8']\n"
    f'config = gin_jobs.configure([{str(path)!r}], bound, jobs.TrainConfig)\n'
    'print(config.batch_size)'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True
  )
  assert done.stdout.strip() == '8', done.stderr
  assert 'imagen_jax.training.jobs' in done.stderr


def test_order_of_includes(tmp_path):
  """What stands after an include wins, and what stands before does not."""
  _written(
    tmp_path,
    HEAD
    + 'from imagen_jax import jobs\n'
    + 'jobs.TrainConfig:\n  batch_size = 8\n  steps = 7\n',
    'more.gin',
  )
  path = _written(
    tmp_path,
    OLD + "include 'more.gin'\njobs.TrainConfig.steps = 9\n",
  )
  config = _configured(path)
  assert (config.batch_size, config.steps) == (8, 9)


def test_messages_name_the_line_of_the_file(tmp_path):
  _written(tmp_path, '\n', 'more.gin')
  path = _written(tmp_path, OLD + "include 'more.gin'\n\nA = \n")
  line = len(path.read_text().splitlines())
  with pytest.raises(
    ValueError, match=f'leaf.gin.*line {line}|{line}.*leaf.gin'
  ):
    _configured(path)


@pytest.mark.parametrize(
  'text, message',
  [
    ("include 'leaf.gin'\n", 'includes itself'),
    ("include './leaf.gin'\n", 'includes itself'),
    ("include 'absent.gin'\n", 'absent.gin not found'),
    ("include '/dev/zero'\n", '/dev/zero not found'),
    ('A = ' + '(' * 3000 + ')' * 3000 + '\n', 'line 1: a value with more'),
    ('A = ' + '-' * 20000 + '1\n', 'line 1: a value with more'),
    ('A = ' + '{1:' * 900 + '1' + '}' * 900, 'line 1: a value with more'),
    ('A = (1,\n', 'leaf.gin'),
    ("A = '''\n", 'leaf.gin'),
    ('  A = 1\n B = 2\n', 'leaf.gin'),
    ('A = %B\nB = %A\njobs.TrainConfig.steps = %A\n', 'circle'),
    ('A = %A\njobs.TrainConfig.steps = %A\n', 'circle'),
    ('A = ' + '9' * 5000 + '\n', 'configuration: '),
    ('# ' + 'x' * 2**20 + '\n', '1,048,576 bytes'),
    ('A = 1\0\n', 'configuration: '),
    ('import\n', 'line 1'),
    ('from', 'line 1'),
    ('include\n', 'line 1'),
  ],
)  # fmt: skip
def test_refused_in_one_line(text, message, tmp_path):
  if 'TrainConfig' in text:
    text = OLD + text
  path = _written(tmp_path, text)
  with pytest.raises(ValueError, match=message) as caught:
    _configured(path)
  assert len(str(caught.value).splitlines()) == 1
  assert len(str(caught.value)) < 2000


def test_no_text_and_no_file(tmp_path):
  path = tmp_path / 'x.gin'
  path.write_bytes(b'\xff\xfe\0')
  with pytest.raises(ValueError, match='no text in UTF-8'):
    _configured(path)
  with pytest.raises(ValueError, match='not found'):
    _configured(pathlib.Path(tmp_path))
