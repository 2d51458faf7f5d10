"""A cascade as programs: the same pictures, without this package."""

import ast
import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from imagen_jax import export_stablehlo
from imagen_jax.sampling import exporting
from imagen_jax.text import huggingface_tokenizers, tokenizer_files
from tests.support import tiny_cascade

CAPTION = tiny_cascade.CAPTIONS[0]


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
  out = tmp_path_factory.mktemp('exported') / 'programs'
  flags = [f'--cascade={tiny_cascade.directory()}', f'--out={out}']
  more = ['--batch=2', '--platforms=cpu,tpu', '--upto=16', '--margin=2']
  assert export_stablehlo.main([*flags, *more]) == 0
  return out


def _run(exported):
  """Its run.py as a module."""
  spec = importlib.util.spec_from_file_location('run', exported / 'run.py')
  run = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(run)
  return run


def test_run_draws_what_the_cascade_draws(exported):
  run = _run(exported)
  found = run.draw(exported, CAPTION, 7)
  expected = tiny_cascade.load().sample(
    [CAPTION], num_images=2, seed=7, upto=16, margin=[0, 2]
  )
  assert found.shape == (2, 16, 16, 3) and found.dtype == np.uint8
  difference = np.abs(np.int32(found) - np.int32(expected))
  assert difference.max() <= 1 and found.std() > 10
  assert np.any(run.draw(exported, CAPTION, 8) != found)


def test_run_knows_both_kinds_of_tokenizer(exported, tmp_path):
  pytest.importorskip('tokenizers')
  vocab = b'[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nfox\nred\n'
  wordpiece = huggingface_tokenizers.bert(vocab, True, 6, 'here')
  piece = tiny_cascade.load().encoder.tokenizer
  for tokenizer in (wordpiece, piece):
    name, content = tokenizer_files.to_file(tokenizer)
    (tmp_path / name).write_bytes(content)
    for caption in ('a red fox', '', 'a red fox a red fox ' * 40, '[SEP] </s>'):
      tokens, mask = tokenizer.encode([caption])
      ids = _run(exported).encoded(
        str(tmp_path / name), tokenizer.max_length, caption
      )
      assert ids == tokens[mask].tolist()


def test_an_encoder_that_cleans_captions_is_refused():
  cascade = tiny_cascade.load()
  encoder = dataclasses.replace(cascade.encoder, as_if=True)
  changed = dataclasses.replace(cascade, encoder=encoder)
  with pytest.raises(ValueError, match='cleans captions as DeepFloyd IF'):
    exporting.programs(changed, tiny_cascade.directory(), cascade.plan())


def test_run_needs_none_of_the_package(exported):
  tree = ast.parse((exported / 'run.py').read_text())
  names = {
    (node.module if isinstance(node, ast.ImportFrom) else alias.name)
    for node in ast.walk(tree)
    if isinstance(node, ast.Import | ast.ImportFrom)
    for alias in node.names
  }
  assert 'jax.export' in names
  assert not any(name.startswith('imagen_jax') for name in names)


def test_the_signature_tells_every_input(exported):
  about = json.loads((exported / exporting.FILE).read_text())
  assert about['platforms'] == ['cpu', 'tpu'] and about['batch'] == 2
  text, base, second = about['programs']
  assert list(text['inputs']) == ['tokens', 'mask']
  assert second['inputs']['low_res'] == base['name']
  assert second['shapes']['low_res'] == {
    'shape': [2, 8, 8, 3],
    'dtype': 'uint8',
  }
  assert second['output'] == {'shape': [2, 16, 16, 3], 'dtype': 'uint8'}
  for program in about['programs']:
    assert set(program['inputs']) == set(program['shapes'])


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--platforms=cpu,vax'], "'vax' is no platform; give some of cpu"),
    (['--upto=9'], 'upto is 9, the stages of this cascade end at'),
    (['--steps=0'], 'steps'),
    (['--cascade=nowhere'], 'nowhere'),
    (['--batch=0'], 'no whole number (pictures)'),
  ],
)
def test_bad_input_is_one_line(tmp_path, capsys, flags, message):
  given = [f'--cascade={tiny_cascade.directory()}', f'--out={tmp_path / "o"}']
  try:
    code = export_stablehlo.main([*given, *flags])
  except SystemExit as stop:
    code = stop.code
  assert code == 2 and not (tmp_path / 'o').exists()
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith('error: ') and message in line


def test_what_is_there_is_not_written_over(tmp_path, capsys):
  (tmp_path / 'kept').write_text('mine')
  assert export_stablehlo.main([f'--out={tmp_path}']) == 2
  assert 'exists; give another' in capsys.readouterr().err
  assert (tmp_path / 'kept').read_text() == 'mine'
