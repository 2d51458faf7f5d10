"""The bind command: what it makes, what it checks, that it is atomic."""

import dataclasses
import json
import os
import pathlib
import re
import shutil

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from imagen_jax import bind, stages
from imagen_jax.files import weights
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import manifests
from imagen_jax.text import checkpoints, encoders
from tests.support import tiny_cascade


@pytest.fixture(autouse=True)
def _parts(monkeypatch, tmp_path):
  """The working directory is a copy of the parts: s8, s16, s32, text."""
  shutil.copytree(
    tiny_cascade.parts(),
    tmp_path / 'parts',
    ignore=shutil.ignore_patterns('cascade'),
  )
  monkeypatch.chdir(tmp_path / 'parts')


def run(capsys, *flags):
  """Exit code, lines on stdout, lines on stderr."""
  try:
    code = bind.main(list(flags))
  except SystemExit as e:
    code = e.code
  captured = capsys.readouterr()
  return code, captured.out.splitlines(), captured.err.splitlines()


def test_what_it_makes_loads(capsys):
  code, out, err = run(
    capsys, '--stages=s8,s16', '--text=text', '--out=new/cascade'
  )
  assert (code, err) == (0, [])
  loaded = cascade_lib.load_cascade('new/cascade')
  assert [stage.resolution for stage in loaded.stages] == [8, 16]
  assert loaded.words is None
  assert out == [f'new/cascade: cascade {loaded.id} of 2 stages']
  assert sorted(os.listdir('new')) == ['cascade']
  for name, directory in zip(('s8', 's16'), ('stage_8', 'stage_16')):
    before = pathlib.Path(name, 'model.safetensors').read_bytes()
    after = pathlib.Path('new/cascade', directory, 'model.safetensors')
    assert after.read_bytes() == before


def test_every_file_has_a_checksum_and_the_id_follows_them(capsys):
  run(capsys, '--stages=s8', '--text=text', '--out=a')
  run(capsys, '--stages=s8', '--text=text', '--out=b')
  run(capsys, '--stages=s8', '--text=text', '--out=c', '--steps=9')
  a, b, c = (manifests.read(name) for name in 'abc')
  files = {
    path.relative_to('a').as_posix()
    for path in pathlib.Path('a').rglob('*')
    if path.is_file()
  }
  assert set(a.checksums) == files - {manifests.FILE}
  assert a == b and a.id != c.id


def test_weights_keep_the_licence_of_their_cascade(capsys):
  one = ['--stages=s8,s16', '--text=text', '--out=one']
  assert run(capsys, *one)[0] == 0
  path = pathlib.Path('one', manifests.FILE)
  fields = json.loads(path.read_text())
  assert 'licence' not in fields
  path.write_text(json.dumps({**fields, 'licence': 'For research alone.'}))
  for stages_flag, expected in (
    ('--stages=one/stage_8,s16', 'For research alone.'),
    ('--stages=one/stage_8,one/stage_16', 'For research alone.'),
    ('--stages=s8,s16', None),
  ):
    flags = [stages_flag, '--text=text', '--out=two', '--replace']
    assert run(capsys, *flags)[0] == 0
    assert cascade_lib.load_cascade('two').licence == expected


def test_a_training_work_directory_will_do(capsys):
  pathlib.Path('run').mkdir()
  os.rename('s8', 'run/stage')
  code, _, _ = run(capsys, '--stages=run', '--text=text', '--out=a')
  assert code == 0 and cascade_lib.load_cascade('a').stages[0].name == 'tiny_8'


@pytest.mark.parametrize(
  ('name', 'dtype'),
  [('float16', np.float16), ('bfloat16', ml_dtypes.bfloat16)],
)
def test_weights_in_16_bits(capsys, name, dtype):
  code, _, _ = run(
    capsys, '--stages=s8', '--text=text', '--out=a', f'--dtype={name}'
  )
  assert code == 0
  for file in ('stage_8/model.safetensors', 'text/encoder.safetensors'):
    on_disk = safetensors.numpy.load_file(f'a/{file}')
    assert {value.dtype for value in on_disk.values()} == {np.dtype(dtype)}
  loaded = cascade_lib.load_cascade('a')
  found = weights.flatten(loaded.params[0])
  for path, value in weights.flatten(
    weights.load('s8/model.safetensors')
  ).items():
    np.testing.assert_array_equal(
      np.asarray(found[path]), value.astype(dtype).astype(np.float32)
    )


def test_an_encoder_of_hugging_face_becomes_a_text_directory(capsys):
  """At the length that the stages were made for; and is copied from there."""
  source = pathlib.Path(__file__).parent / 'data/huggingface/bert_tiny'
  pathlib.Path('vocab.txt').write_text('[PAD]\n[UNK]\n[CLS]\n[SEP]\nfox\n')
  expected = checkpoints.load_encoder(
    source / 'new_names', max_length=9, tokenizer='.'
  )
  width, stage = expected.config.width, tiny_cascade.stage(8)
  model = dataclasses.replace(stage.model, text_width=width)
  stage = dataclasses.replace(
    stage, model=model, text_width=width, max_length=9
  )
  stages.write('s8', stage, tiny_cascade.random_params(stage))
  for out, *flags in (
    ('a', f'--text={source / "new_names"}', '--tokenizer=.'),
    ('b', '--text=a/text'),
  ):
    code, _, err = run(capsys, '--stages=s8', f'--out={out}', *flags)
    assert (code, err) == (0, [])
    encoder = cascade_lib.load_cascade(out).encoder
    found, wanted = encoder.fingerprint(), expected.fingerprint()
    assert found.pop('tokenizer') and wanted.pop('tokenizer')
    assert found == wanted
    np.testing.assert_array_equal(
      encoder.tokenizer.encode(['fox red'])[0],
      expected.tokenizer.encode(['fox red'])[0],
    )
  assert pathlib.Path('b/text/tokenizer.json').exists()


def test_another_encoder_than_in_training_is_noted(capsys):
  stage, params = stages.read('s8')
  own = encoders.weights_sha256(encoders.load('text').params)
  for trained, notes in ((own, 0), ('0123456789abcdef', 1)):
    metadata = {stages.TEXT_WEIGHTS: trained}
    stages.write('s8', stage, params, metadata=metadata)
    flags = '--stages=s8', '--text=text', '--out=new', '--replace'
    code, _, err = run(capsys, *flags)
    assert (code, len(err)) == (0, notes)
  assert err[0].startswith('note: s8 was trained with other text weights')
  assert '0123456789ab' in err[0] and own[:12] in err[0]


def test_settings_given_anew(capsys):
  code, _, _ = run(
    capsys,
    '--stages=s8,s16',
    '--text=text',
    '--out=a',
    '--steps=9,8',
    '--guidance=1.5',
    '--sampler=ddim',
    '--batch=3,1',
    '--aug_level=0.3',
    '--guidance_range=-5:5,off',
    '--eta=0.5',
    '--in_turn',
  )
  assert code == 0
  for i, directory in enumerate(('stage_8', 'stage_16')):
    sampling = stages.read_config(f'a/{directory}').sampling
    assert sampling == stages.Sampling(
      sampler='ddim',
      guidance_range=((-5.0, 5.0), None)[i],
      eta=0.5,
      in_turn=True,
      steps=(9, 8)[i],
      guidance=1.5,
      aug_level=0.3,
      batch=(3, 1)[i],
    )


def test_vocabulary(capsys):
  run(capsys, '--stages=s8', '--text=text', '--out=a', '--vocabulary=lite')
  words = cascade_lib.load_cascade('a').words
  for prompt in tiny_cascade.CAPTIONS:
    assert set(manifests.words_in(prompt)) <= words
  assert 'sousaphone' not in words
  pathlib.Path('words.txt').write_text('A fox,\nT-shirts')
  run(capsys, '--stages=s8', '--text=text', '--out=b', '--words_file=words.txt')
  assert cascade_lib.load_cascade('b').words == {'a', 'fox', 't-shirts'}


def test_replace_keeps_the_card(capsys):
  flags = ('--text=text', '--out=a')
  assert run(capsys, '--stages=s8', *flags)[0] == 0
  pathlib.Path('a/README.md').write_text('card')
  code, _, err = run(capsys, '--stages=s8,s16', *flags)
  assert (
    code == 2 and len(err) == 1 and '--out=a exists; add --replace' in err[0]
  )
  assert len(cascade_lib.load_cascade('a').stages) == 1
  assert run(capsys, '--stages=s8,s16', *flags, '--replace')[0] == 0
  assert len(cascade_lib.load_cascade('a').stages) == 2
  assert pathlib.Path('a/README.md').read_text() == 'card'
  assert not [name for name in os.listdir() if name.startswith('.a.')]


def test_text_may_lie_in_the_directory_that_is_replaced(capsys):
  pathlib.Path('shipped').mkdir()
  os.rename('text', 'shipped/text')
  code, _, _ = run(
    capsys,
    '--stages=s8',
    '--text=shipped/text',
    '--out=shipped',
    '--replace',
  )
  assert code == 0 and cascade_lib.load_cascade('shipped')


@pytest.mark.parametrize('moment', ['copy', 'rename'])
def test_a_failure_leaves_what_was_there(capsys, monkeypatch, moment):
  flags = ('--stages=s8', '--text=text', '--out=a')
  run(capsys, *flags)
  before = manifests.read('a')
  rename = os.rename

  def full(*unused, **unused_too):
    raise OSError(28, 'No space left on device')

  def rename_once(source, target):
    if pathlib.Path(target).name == 'a' and not str(source).endswith('.old'):
      full()
    rename(source, target)

  if moment == 'copy':
    monkeypatch.setattr(shutil, 'copyfile', full)
  else:
    monkeypatch.setattr(os, 'rename', rename_once)
  code, _, err = run(capsys, *flags, '--replace')
  assert code == 2
  assert len(err) == 1 and 'No space left on device' in err[0]
  manifests.verify('a', before)
  assert not [name for name in os.listdir() if name.startswith('.a.')]


def _change(directory, **fields):
  path = pathlib.Path(directory, stages.CONFIG_FILE)
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _shorten_text():
  path = pathlib.Path('text', encoders.CONFIG_FILE)
  path.write_text(json.dumps(json.loads(path.read_text()) | {'max_length': 5}))


@pytest.mark.parametrize(
  ('prepare', 'flags', 'message'),
  [
    (None, ['--stages=s16,s32'], 'tiny_16 starts from 8 px, the stages before'),
    (None, ['--stages=s8,s32'], 'tiny_32 starts from 16 px, .* give 8 px'),
    (None, ['--stages=s16,s8'], 'order them from coarse to fine'),
    (None, ['--stages=s8,s16,s32,s32'], '4 stages given, a cascade has 1 to 3'),
    (None, ['--stages=none'], 'none is no stage directory'),
    (None, ['--stages=s8', '--text=none'], 'none'),
    (None, ['--stages=s8/stage.json'], 'stage.json cannot be read: Not a dir'),
    (None, ['--stages=s8', '--tokenizer=x'], 'has its own; leave the flag out'),
    (
      None,
      ['--stages=s8', '--steps=1,2'],
      'steps has 2 values, 1 stages are bound',
    ),
    (
      None,
      ['--stages=s8', '--steps=x'],
      "--steps: 'x' is no list of whole numbers",
    ),
    (None, ['--stages=s8', '--steps=0'], 'steps is 0'),
    (None, ['--stages=s8', '--batch=0'], 'batch is 0'),
    (None, ['--stages=s8', '--sampler=euler'], "sampler 'euler' is not one of"),
    (None, ['--stages=s8', '--dtype=int8'], 'argument --dtype: invalid choice'),
    (None, ['--stages=s8', '--words_file=none'], 'none'),
    (
      None,
      ['--stages=s8', '--words_file=w', '--vocabulary=lite'],
      'not both',
    ),
    (None, ['--stages=s8', '--out=.', '--replace'], 'holds the directory s'),
    (None, ['--stages=s8', '--out=s8/stage.json', '--replace'], 'exists; add'),
    (
      None,
      ['--stages=s8', '--out=s8/stage.json/x'],
      '--out=s8/stage.json/x cannot be written',
    ),
    (_shorten_text, ['--stages=s8'], '12 tokens, the encoder gives 16 and 5'),
    (
      lambda: shutil.copy('s16/model.safetensors', 's8/model.safetensors'),
      ['--stages=s8'],
      'model.safetensors: .* the network of stage.json has',
    ),
    (
      lambda: _change('s8', prediction='noise'),
      ['--stages=s8'],
      "prediction must be .* not 'noise'",
    ),
  ],
)
def test_what_does_not_fit_is_one_line(capsys, prepare, flags, message):
  if prepare:
    prepare()
  defaults = {'--text': 'text', '--out': 'a'}
  given = {flag.split('=')[0] for flag in flags}
  flags += [f'{k}={v}' for k, v in defaults.items() if k not in given]
  code, out, err = run(capsys, *flags)
  assert (code, out) == (2, []) and len(err) == 1
  assert err[0].startswith('error: ')
  assert re.search(message, err[0]), err[0]
  assert not os.path.exists('a')


def test_help_names_every_flag_with_its_default(capsys):
  code, out, _ = run(capsys, '--help')
  assert code == 0
  text = ' '.join(out)
  for action in bind.parser()._actions:
    if action.dest == 'help':
      continue
    assert 'default' in action.help
    assert all(option in text for option in action.option_strings)
