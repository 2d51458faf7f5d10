"""The embedding job: what it keeps, resumes, shares out and refuses."""

import ml_dtypes
import numpy as np
import pytest

from imagen_jax import embed
from imagen_jax.text import cache, cache_reader, cache_writer, encoders
from tests.support import tiny_cascade

ODD = ('</s>', 'a </s> b <extra_id_0>', '<pad>', ' a red fox ', 'A\tfox\u2028')
CAPTIONS = (*tiny_cascade.CAPTIONS, *tiny_cascade.WORDS, '', *ODD)


@pytest.fixture(scope='module')
def encoder(tmp_path_factory):
  """A tiny encoder, read from its text directory."""
  directory = tmp_path_factory.mktemp('encoder')
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  return encoders.load(directory / 'text'), directory / 'text'


def _embed(encoder, out, captions=CAPTIONS, **changes):
  options = {'shards': 5, 'batch_tokens': 64} | changes
  embed.embed(encoder[0], [captions], out, **options)


def _bytes(directory):
  return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope='module')
def whole(encoder, tmp_path_factory):
  """The cache of an uninterrupted job."""
  out = tmp_path_factory.mktemp('whole')
  _embed(encoder, out)
  return out


def test_embeddings_are_those_of_the_encoder(encoder, whole):
  expected, mask = encoder[0].encode(CAPTIONS)
  text, found = cache_reader.Reader(whole).batch(CAPTIONS)
  np.testing.assert_array_equal(found, mask)
  half = 2.0**-8  # of bfloat16's last place
  np.testing.assert_allclose(
    text.astype(np.float32), expected, rtol=half, atol=1e-5
  )


def test_int8_embeddings_are_close(encoder, tmp_path):
  _embed(encoder, tmp_path, dtype='int8')
  expected, mask = encoder[0].encode(CAPTIONS)
  text, _ = cache_reader.Reader(tmp_path).batch(CAPTIONS)
  a, b = expected[mask], text[mask].astype(np.float32)
  norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  assert ((a * b).sum(axis=-1) / norms).min() > 0.999
  assert cache_reader.Reader(tmp_path).manifest.dtype == 'int8'


def test_duplicates_are_stored_once_and_the_empty_caption_always(
  encoder, tmp_path
):
  _embed(encoder, tmp_path, ['a red fox'] * 50 + ['a star'], shards=1)
  reader = cache_reader.Reader(tmp_path)
  assert len(reader.index(0).digests) == 3
  assert reader.manifest.lines == 51
  ((tokens,),) = encoder[0].tokenizer.encode([''])[1].sum(axis=1, keepdims=True)
  assert len(reader.read([''])[0]) == tokens == 1


def test_control_tokens_in_captions_are_text(encoder):
  tokenizer = encoder[0].tokenizer
  tokens, mask = tokenizer.encode(ODD)
  for row, true in zip(tokens, mask):
    assert row[true][-1] == 1 and (row[true][:-1] > 1).all()
    assert (row < tokenizer.pieces).all()


def test_a_cache_is_adopted_under_its_lock(encoder, tmp_path, monkeypatch):
  """Two jobs that begin together must not both write the manifest."""
  adopt = cache_writer.adopt

  def locked(directory, manifest):
    assert (directory / cache_writer.LOCK_FILE).exists()
    adopt(directory, manifest)

  monkeypatch.setattr(cache_writer, 'adopt', locked)
  _embed(encoder, tmp_path / 'new', ['a red fox'], shards=1)


class Stopped(Exception):
  """In place of a kill."""


@pytest.mark.parametrize('seed', range(3))
def test_stopped_anywhere_it_ends_with_the_same_files(
  encoder, whole, tmp_path, monkeypatch, seed
):
  """Stops before, within and after the shards' renaming; then runs through."""
  rng = np.random.default_rng(seed)
  steps = iter(rng.integers(0, 6, 3).tolist())
  left = next(steps)

  def perhaps_stop(function):
    def wrapped(*args):
      nonlocal left
      left -= 1
      if left == -1:
        left = next(steps, 10**6)
        raise Stopped
      return function(*args)

    return wrapped

  rename, encode = cache_writer.os.replace, cache_writer.quantization.encode
  monkeypatch.setattr(cache_writer.os, 'replace', perhaps_stop(rename))
  monkeypatch.setattr(cache_writer.quantization, 'encode', perhaps_stop(encode))
  stops = 0
  while True:
    try:
      _embed(encoder, tmp_path)
      break
    except Stopped:
      stops += 1
  assert stops == 3
  assert _bytes(tmp_path) == _bytes(whole)


def test_finished_shards_are_not_made_again(encoder, whole, monkeypatch):
  before = _bytes(whole)
  monkeypatch.setattr(cache_writer, 'write_shard', None)
  _embed(encoder, whole)
  assert _bytes(whole) == before


def test_hosts_together_make_the_same_files(encoder, whole, tmp_path):
  for host in (1, 0):
    _embed(encoder, tmp_path, host=host, hosts=2)
    if host == 1:
      with pytest.raises(ValueError, match='3 of 5 shards are missing'):
        cache_reader.Reader(tmp_path)
  assert _bytes(tmp_path) == _bytes(whole)


@pytest.mark.parametrize(
  ('changes', 'said'),
  [
    ({'dtype': 'int8'}, 'dtype is bfloat16 there and int8 here'),
    ({'shards': 4}, 'shards is 5 there and 4 here'),
    ({'captions': ['a fox']}, 'captions is .* there and'),
  ],
)
def test_another_job_on_the_same_directory(encoder, whole, changes, said):
  with pytest.raises(ValueError, match=f'holds another cache: {said}'):
    _embed(encoder, whole, **changes)


def test_embedding_that_overflows(encoder, tmp_path, monkeypatch):
  monkeypatch.setattr(
    embed.buckets.BucketEncoder,
    'encode',
    lambda *_: [(np.array([0]), [np.full((1, 16), np.inf, np.float32)])],
  )
  with pytest.raises(ValueError, match='is not finite: the encoder overflows'):
    _embed(encoder, tmp_path)


def test_shards_are_of_about_128_mb():
  for width in (256, 1024, 4096):
    n = embed.shard_count(10**6, width)
    size = 10**6 * 16 * width * 2 / n
    assert 100e6 < size < 140e6
  assert embed.shard_count(0, 256) == embed.shard_count(1, 4096) == 1


def _run(capsys, *argv):
  try:
    code = embed.main([str(a) for a in argv])
  except SystemExit as stop:
    code = stop.code
  out = capsys.readouterr()
  return code, out.out, out.err


def test_command_line_and_inspect(encoder, whole, tmp_path, capsys):
  file = tmp_path / 'captions.txt'
  file.write_text('\n'.join(CAPTIONS) + '\n', encoding='utf-8')
  out = tmp_path / 'cache'
  argv = [f'--encoder={encoder[1]}', f'--captions={file}', f'--out={out}']
  code, _, err = _run(capsys, *argv, '--shards=5', '--batch_tokens=64')
  assert code == 0
  assert 'captions/s' in err and 'tokens/s' in err and ' left' in err
  assert _bytes(out) == _bytes(whole)
  code, said, _ = _run(capsys, f'--inspect={out}')
  assert code == 0
  tokens, mask = encoder[0].tokenizer.encode(CAPTIONS)
  size = sum(path.stat().st_size for path in out.glob('shard_*'))
  cut = sum(bool(encoder[0].tokenizer.cut(c)) for c in CAPTIONS)
  assert cut > 0
  for part in (
    f'{len(set(CAPTIONS))} different, of {len(CAPTIONS)} lines',
    f'{mask.sum():,} true',
    f'{cut} captions, {cut / len(CAPTIONS):.2%}, at 12 tokens',
    f'{size / 1e6:.1f} MB in 5 shards',
    cache.encoder_id(encoder[0].fingerprint()),
    encoder[0].fingerprint()['weights'],
    f'1 to  8 {(mask.sum(axis=1) <= 8).sum():10}',
    f'9 to 12 {(mask.sum(axis=1) > 8).sum():10}',
  ):
    assert part in said


def test_bad_command_lines_are_one_line_and_exit_2(encoder, tmp_path, capsys):
  latin = tmp_path / 'latin.txt'
  latin.write_bytes(b'a fox\n\xe9t\xe9\n')
  file = tmp_path / 'a.txt'
  file.write_text('a fox\n')
  text, out = f'--encoder={encoder[1]}', f'--out={tmp_path / "cache"}'
  for argv, said in (
    ([], '--encoder is missing'),
    ([text, out], '--captions is missing'),
    ([text, f'--captions={file}'], '--out is missing'),
    ([text, out, f'--captions={latin}'], 'line 2 is not UTF-8'),
    ([text, out, '--captions=nothing.txt'], 'nothing.txt does not exist'),
    ([text, out, f'--captions={file}', '--host=2'], '--host=2 of --hosts=1'),
    ([text, out, f'--captions={file}', '--dtype=int4'], 'invalid choice'),
    ([text, out, f'--captions={file}', '--shards=0'], 'whole number'),
    ([f'--encoder={tmp_path}', out, f'--captions={file}'], str(tmp_path)),
    ([text, f'--out={file}', f'--captions={file}'], f'--out={file} cannot'),
    ([f'--inspect={tmp_path}'], 'is no cache of embeddings'),
  ):
    code, _, err = _run(capsys, *argv)
    assert code == 2, argv
    assert err.count('\n') == 1 and said in err, err
  assert not (tmp_path / 'cache').exists()


def test_help_names_every_flag_with_its_default(capsys):
  code, out, _ = _run(capsys, '--help')
  assert code == 0
  text = ' '.join(out.split())
  for action in embed.parser()._actions:
    if action.dest == 'help':
      continue
    assert 'default' in action.help
    assert all(option in text for option in action.option_strings)


def test_a_cache_is_bfloat16(whole):
  assert cache_reader.Reader(whole).read([''])[0].dtype == ml_dtypes.bfloat16
