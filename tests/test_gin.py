"""Every leaf of gin/ parses, builds its job, and says what it is."""

import pathlib
import subprocess
import sys

import pytest

import gin
from imagen_jax import (
  pretrain_text,
  stages,
  train,
  train_judge,
  train_layout,
)
from imagen_jax.data.emoji_scenes import splits
from imagen_jax.diffusion import schedules
from imagen_jax.training import checkpoints, gin_jobs, jobs, optimizers, state

ROOT = pathlib.Path(__file__).parents[1] / 'gin'
LEAVES = sorted(ROOT.glob('*.gin'))
COUNTS = {
  'scenes_64': 6_324_144,
  'scenes_64_layout': 6_395_616,
  'scenes_256': 3_258_992,
  'scenes_1024': 1_221_360,
  'finetune_64': 6_324_144,
  'base64_300m': 371_519_939,
  'base64_500m': 618_417_411,
  'base64_1b': 935_233_603,
  'base64_2b': 2_305_194_499,
  'sr256_600m': 589_632_131,
  'sr1024_600m': 581_243_523,
  'sr1024_400m': 404_168_579,
}


@pytest.fixture(autouse=True)
def _clean():
  yield
  gin.clear_config(clear_constants=True)


def _configure(leaf, *bindings):
  text, config = leaf.read_text(), train.TrainConfig
  if 'pretrain_text' in text:
    config = pretrain_text.PretrainConfig
  elif 'train_judge' in text:
    config = train_judge.JudgeTraining
  elif 'train_layout' in text:
    config = train_layout.LayoutTraining
  return gin_jobs.configure([leaf], list(bindings), config)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)
def test_leaf_builds(leaf, tmp_path, monkeypatch):
  # A user's own runs/ must not be taken for the folder of the includes.
  (tmp_path / 'runs').mkdir()
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  config = _configure(leaf)
  if isinstance(config, train.TrainConfig):
    shapes = stages.param_shapes(config.stage)
    assert state.count(shapes) == COUNTS[leaf.stem]
    assert stages.from_json(stages.to_json(config.stage)) == config.stage
    config.learning_rate.schedule()


def test_the_judge_knows_the_words_of_its_vocabulary():
  config = _configure(ROOT / 'scenes_judge.gin')
  words, model = splits.vocabulary(config.vocabulary), config.model
  assert model.nouns == len(words.nouns)
  assert model.colours == len(words.colours) + 1
  assert model.backgrounds == len(words.backgrounds)
  assert train_judge.describe(config).startswith('252,581 parameters')


def test_layouts_know_the_words_of_their_vocabulary():
  """And the base is told of just what the layout stage places."""
  config = _configure(ROOT / 'scenes_layout.gin')
  words, layout = splits.vocabulary('lite'), config.stage.layout
  assert layout.things == words.nouns
  assert layout.colours == ('natural', *words.colours)
  assert train_layout.describe(config).startswith('3')
  gin.clear_config(clear_constants=True)
  base = _configure(ROOT / 'scenes_64_layout.gin')
  assert base.stage.layout == layout


def test_the_comparison_of_encoders_is_the_shipped_base_but_smaller():
  files = [ROOT / 'scenes_64.gin', ROOT / 'runs' / 'ablation.gin']
  small = gin_jobs.configure(files, [], train.TrainConfig)
  assert small.steps * small.batch_size == 54_000
  assert small.stage.model.widths == (64, 64)
  gin.clear_config(clear_constants=True)
  shipped = _configure(files[0])
  assert small.optimizer == shipped.optimizer
  assert small.stage.schedule == shipped.stage.schedule


@pytest.mark.parametrize(
  'name', [name for name in COUNTS if name.startswith(('base', 'sr'))]
)
def test_the_paper_s_recipe(name):
  """Section 4.1 and appendix F."""
  config = _configure(ROOT / f'{name}.gin')
  assert (config.batch_size, config.steps) == (2048, 2_500_000)
  assert config.caption_dropout == 0.1
  rate = config.learning_rate
  assert (rate.peak, rate.warmup, rate.decay_start) == (1e-4, 10_000, None)
  base = name.startswith('base')
  kind = optimizers.Adafactor if base else optimizers.Adam
  assert config.optimizer == kind()
  assert config.stage.prediction == 'eps'
  linear = isinstance(config.stage.schedule, schedules.LinearBeta)
  assert linear == name.startswith('sr1024')
  assert config.pictures.crop == (256 if linear else None)
  assert config.stage.model.dtype == 'bfloat16'
  assert config.compute.remat == 'blocks' and config.compute.scan


def test_misspelt_parameter_and_missing_file():
  leaf = ROOT / 'scenes_64.gin'
  with pytest.raises(ValueError, match="no.* parameter named 'stepz'|stepz"):
    _configure(leaf, 'TrainConfig.stepz = 3')
  gin.clear_config(clear_constants=True)
  with pytest.raises(ValueError, match='scenes_65.gin not found; see the le'):
    gin_jobs.configure([ROOT / 'scenes_65.gin'], [], train.TrainConfig)


@pytest.mark.parametrize(
  ('binding', 'said'),
  [
    ('Stage.prediction=eps', 'needs quotes .*: --gin.Stage.prediction="\'eps'),
    ('TrainConfig.text=runs/x', 'TrainConfig.text="\'runs/x\'"'),
    ('TrainKonfig.steps=3', '--gin.TrainKonfig.steps=3: No configurable'),
    ("TrainConfig.steps='many'", "TrainConfig.steps is 'many'; it must be int"),
    ('TrainConfig.optimizer=@Nope()', 'No configurable matching'),
    ('UNetConfig.widths=[128,128]', r'widths is \[128, 128\]; .* tuple of int'),
    ('UNetConfig.widths=(100,128)', 'no multiples of groups=32'),
    ('UNetConfig.blocks=(1,)', 'are of 2 and 1 levels'),
    ('UNetConfig.attention=(32,)', r'attention at \[32\] cannot be'),
    ('Sampling.percentile=0.995', 'percentile is 0.995; it must lie in'),
    ('UNetConfig.head_width=0', 'head_width is 0; it must be at least 1'),
    ('UNetConfig.blocks=(1,0)', r'blocks is \(1, 0\); it must be at least 1'),
    ('UNetConfig.embedding_width=4', 'embedding_width is 4; .* at least 8'),
    ('TrainConfig.validation_batches=0', 'TrainConfig.validation_batches is 0'),
    ('TrainConfig.caption_dropout=10', r'dropout is 10; it must lie in \[0, 1'),
    ('TrainConfig.seed=-1', 'TrainConfig.seed is -1; it must lie in'),
    ('TrainConfig.clip=0', 'TrainConfig.clip is 0; it must be at least 1e-06'),
    ('LearningRate.peak=-1e-4', 'LearningRate.peak is -0.0001'),
    ('LearningRate.decay_start=50', 'decay_start 50 lies inside the warm-up'),
    ("TrainConfig.freeze='a('", r"freeze 'a\(' is no regular expression: miss"),
    ("TrainConfig.fresh='*'", r"fresh '\*' is no regular expression: nothing"),
    ("Muon.adam_paths=('[',)", r"adam_paths '\[' is no regular expression"),
    ("Muon.adam_paths='pool'", "adam_paths is 'pool'; it must be tuple of str"),
    ('Cosine.shift=1000', r'Cosine.shift is 1000; it must lie in \[-80, 80\]'),
  ],
)
def test_a_setting_that_cannot_be_is_one_line(binding, said):
  with pytest.raises(ValueError, match=said) as caught:
    _configure(ROOT / 'scenes_64.gin', binding)
  assert '\n' not in gin_jobs._one_line(caught.value)


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('from imagen_jax import nonesuch\n', "No module named 'imagen_jax.none"),
    ('trains.TrainConfig.steps = 3\n', "'trains' was not provided by an imp"),
    ("include 'models/none.gin'\n", 'gin file models/none.gin not found'),
  ],
)
def test_leaf_that_gin_cannot_use(tmp_path, text, said):
  leaf = tmp_path / 'leaf.gin'
  leaf.write_text(f'from __gin__ import dynamic_registration\n{text}')
  with pytest.raises(ValueError, match=said):
    gin_jobs.configure([leaf], [], train.TrainConfig)


def test_the_mesh_is_a_setting():
  config = _configure(ROOT / 'scenes_64.gin', 'MeshConfig.fsdp = 2')
  assert config.mesh.fsdp == 2


def test_stage_and_pictures_must_fit():
  with pytest.raises(ValueError, match='pictures.resolution 32 differs'):
    _configure(ROOT / 'scenes_64.gin', 'Pictures.resolution = 32')


def test_a_base_has_nothing_to_blur():
  with pytest.raises(ValueError, match='low_res_blur 1.0 is set, but stage'):
    _configure(ROOT / 'scenes_64.gin', 'TrainConfig.low_res_blur = 1.0')


@pytest.mark.parametrize(
  'argv, said',
  [
    (['--gin_file=x.gin', '--workdir=w'], 'x.gin not found'),
    (['--gin_file=x.gin'], '--workdir=DIR is missing'),
    (['--workdir=w'], '--gin_file'),
    (['--gin_file=x.gin', '--workdir=w', '--steps=3'], 'unknown flag --steps'),
    (['--gin_file=x.gin', '--workdir=w', '--gin.A.b'], 'has no value'),
  ],
)
def test_bad_command_line_is_one_message_and_exit_2(argv, said, capsys):
  with pytest.raises(SystemExit) as stop:
    gin_jobs.run(train.train, train.TrainConfig, jobs.describe, argv)
  assert stop.value.code == 2
  error = capsys.readouterr().err
  assert said in error
  assert error.startswith('error: ') and error.count('\n') == 1


def test_help_names_the_job_and_every_flag(capsys):
  with pytest.raises(SystemExit) as stop:
    gin_jobs.run(train.train, train.TrainConfig, jobs.describe, ['--help'])
  assert stop.value.code == 0
  text = capsys.readouterr().out
  assert text.startswith('usage: python -m imagen_jax.train ')
  assert train.__doc__.splitlines()[0] in text
  for action in gin_jobs.parser()._actions:
    assert all(option in text for option in action.option_strings)
    assert action.dest == 'help' or 'default' in action.help


def _run_in(workdir, function):
  gin.clear_config(clear_constants=True)
  leaf = ROOT / 'scenes_64.gin'
  argv = [f'--gin_file={leaf}', f'--workdir={workdir}']
  gin_jobs.run(function, train.TrainConfig, jobs.describe, argv)


@pytest.fixture
def _no_cache(monkeypatch):
  monkeypatch.setattr(gin_jobs.compilation, 'enable_cache', lambda: None)


def test_the_configuration_stays_with_its_run(tmp_path, _no_cache, capsys):
  """A command for another run, refused, leaves what it was refused for."""

  def refuse(config, workdir):
    raise checkpoints.AnotherRun('belongs to another run')

  _run_in(tmp_path / 'w', lambda config, workdir: None)
  path = tmp_path / 'w' / 'config.gin'
  assert 'TrainConfig.steps = 40000' in path.read_text()
  path.write_text('# the first')
  with pytest.raises(SystemExit):
    _run_in(tmp_path / 'w', refuse)
  assert path.read_text() == '# the first'
  assert 'error: belongs to another run' in capsys.readouterr().err
  _run_in(tmp_path / 'w', lambda config, workdir: None)
  assert path.read_text() != '# the first'


@pytest.mark.parametrize('saves', [False, True])
def test_a_job_that_fails_before_it_saves_leaves_the_configuration(
  saves, tmp_path, _no_cache
):
  def fail(config, workdir):
    if saves:
      (workdir / 'checkpoints' / '7').mkdir(parents=True)
    raise ValueError('a batch that does not divide')

  path = tmp_path / 'config.gin'
  path.write_text('# the first')
  with pytest.raises(SystemExit):
    _run_in(tmp_path, fail)
  assert (path.read_text() == '# the first') != saves


def test_a_second_job_in_the_work_directory_is_refused(
  tmp_path, _no_cache, capsys
):
  code = (
    'import fcntl, sys; f = open(sys.argv[1], "ab"); '
    'fcntl.lockf(f, fcntl.LOCK_EX); print("held", flush=True); sys.stdin.read()'
  )
  other = subprocess.Popen(
    [sys.executable, '-c', code, tmp_path / '.lock'],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  assert other.stdout.readline() == b'held\n'
  with pytest.raises(SystemExit):
    _run_in(tmp_path, lambda config, workdir: None)
  assert 'another process is training there' in capsys.readouterr().err
  assert not (tmp_path / 'config.gin').exists()
  other.kill()
  other.wait()
  _run_in(tmp_path, lambda config, workdir: None)
  assert (tmp_path / 'config.gin').exists()


def test_dry_run_prints_the_defaults_too(capsys):
  argv = [f'--gin_file={ROOT / "scenes_64.gin"}', '--dry_run']
  gin_jobs.run(train.train, train.TrainConfig, lambda config: 'told', argv)
  out = capsys.readouterr().out
  assert 'TrainConfig.caption_dropout = 0.1' in out and 'told' in out


def test_a_work_directory_that_is_a_file(tmp_path, _no_cache, capsys):
  (tmp_path / 'w').write_text('')
  with pytest.raises(SystemExit) as stop:
    _run_in(tmp_path / 'w', lambda config, workdir: None)
  said = capsys.readouterr().err
  assert stop.value.code == 2 and said.count('\n') == 1
  assert f'--workdir={tmp_path / "w"} cannot be written' in said


@pytest.mark.parametrize(
  'error',
  [
    ValueError('loss is nan\nat step 7'),
    FloatingPointError('not finite'),
    OSError(28, 'No space left on device'),
  ],
)
def test_what_stops_a_job_is_one_line(tmp_path, _no_cache, capsys, error):
  def fail(config, workdir):
    raise error

  with pytest.raises(SystemExit) as stop:
    _run_in(tmp_path, fail)
  assert stop.value.code == 2
  said = capsys.readouterr().err
  assert said.startswith('error: ') and said.count('\n') == 1


def test_dry_run_prints_configuration_and_count(capsys):
  argv = [f'--gin_file={ROOT / "scenes_64.gin"}', '--dry_run']
  gin_jobs.run(train.train, train.TrainConfig, jobs.describe, argv)
  out = capsys.readouterr().out
  assert 'UNetConfig.widths = (128, 128)' in out
  assert '6,324,144 parameters, 40,000 steps of 16' in out
