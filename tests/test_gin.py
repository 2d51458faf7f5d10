"""Every leaf of gin/ parses, builds its job, and says what it is."""

import pathlib
import re

import jax
import pytest

import gin
from imagen_jax import cli, pretrain_text, stages, train
from imagen_jax.training import state

ROOT = pathlib.Path(__file__).parents[1] / 'gin'
LEAVES = sorted(ROOT.glob('*.gin'))
COUNTS = {
  'scenes_64': 6_324_144,
  'scenes_256': 3_258_992,
  'scenes_1024': 1_221_360,
}


@pytest.fixture(autouse=True)
def _clean():
  yield
  gin.clear_config(clear_constants=True)


def _configure(leaf, *bindings):
  pretraining = 'pretrain_text' in leaf.read_text()
  config = pretrain_text.PretrainConfig if pretraining else train.TrainConfig
  return cli.configure([leaf], list(bindings), config)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)
def test_leaf_builds(leaf, tmp_path, monkeypatch):
  # A user's own runs/ must not be taken for the folder of the includes.
  (tmp_path / 'runs').mkdir()
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  config = _configure(leaf)
  if isinstance(config, train.TrainConfig):
    shapes = jax.eval_shape(
      lambda key: train.init_params(config.stage, key), jax.random.key(0)
    )
    assert state.count(shapes) == COUNTS[leaf.stem]
    assert stages.from_json(stages.to_json(config.stage)) == config.stage
    config.learning_rate.schedule()


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)
def test_header_has_the_command_and_the_hardware(leaf):
  header = leaf.read_text().split('from __gin__')[0]
  command = re.search(r'python -m imagen_jax\.\w+ --gin_file=(\S+)', header)
  assert command.group(1) == f'gin/{leaf.name}'
  for word in ('Hardware:', 'Expected:'):
    assert word in header


def test_misspelt_parameter_and_missing_file():
  leaf = ROOT / 'scenes_64.gin'
  with pytest.raises(ValueError, match="no.* parameter named 'stepz'|stepz"):
    _configure(leaf, 'TrainConfig.stepz = 3')
  gin.clear_config(clear_constants=True)
  with pytest.raises(ValueError, match='scenes_65.gin not found; see the le'):
    cli.configure([ROOT / 'scenes_65.gin'], [], train.TrainConfig)


def test_stage_and_pictures_must_fit():
  with pytest.raises(ValueError, match='pictures.resolution 32 differs'):
    _configure(ROOT / 'scenes_64.gin', 'Pictures.resolution = 32')


@pytest.mark.parametrize(
  'argv, said',
  [
    (['--gin_file=x.gin', '--workdir=w'], 'x.gin not found'),
    (['--gin_file=x.gin'], '--workdir=DIR is missing'),
    (['--workdir=w'], '--gin_file'),
    (['--gin_file=x.gin', '--workdir=w', '--steps=3'], 'unknown argument'),
    (['--gin_file=x.gin', '--workdir=w', '--gin.A.b'], 'has no value'),
  ],
)
def test_bad_command_line_is_one_message_and_exit_2(argv, said, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.run(train.train, train.TrainConfig, train.describe, argv)
  assert stop.value.code == 2
  assert said in capsys.readouterr().err


def test_dry_run_prints_configuration_and_count(capsys):
  argv = [f'--gin_file={ROOT / "scenes_64.gin"}', '--dry_run']
  cli.run(train.train, train.TrainConfig, train.describe, argv)
  out = capsys.readouterr().out
  assert 'UNetConfig.widths = (128, 128)' in out
  assert '6,324,144 parameters, 40,000 steps of 16' in out
