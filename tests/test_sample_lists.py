"""Long lists of prompts: killed and run again, shared out, with bad lines."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from imagen_jax import sample
from imagen_jax.data import sources
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade

ROOT = pathlib.Path(__file__).parents[1]
FOX, KEYS, CAR = tiny_cascade.CAPTIONS
pytestmark = pytest.mark.filterwarnings('ignore:the prompt')


@pytest.fixture(autouse=True)
def _shared_cascade(monkeypatch, tmp_path):
  shared = tiny_cascade.load()
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda *_, **__: shared)
  monkeypatch.setattr(sample.compilation, 'enable_cache', lambda: None)
  monkeypatch.chdir(tmp_path)


def run(capsys, *flags, lines=(FOX, KEYS)):
  """Exit code, lines on stdout, lines on stderr."""
  data = b'\n'.join(x if isinstance(x, bytes) else x.encode() for x in lines)
  pathlib.Path('prompts.txt').write_bytes(data)
  code = sample.main(
    ['--prompts_file=prompts.txt', '--upto=8', '--out=a', *flags]
  )
  captured = capsys.readouterr()
  return code, captured.out.splitlines(), captured.err.splitlines()


def _times(directory='a'):
  paths = pathlib.Path(directory).glob('*_seed*.png')
  return {path.name: path.stat().st_mtime_ns for path in paths}


def test_killed_and_run_again(capsys):
  """Nothing is drawn twice, and all comes out as if never killed."""
  lines = [f'{FOX} {n}' for n in range(200)]
  pathlib.Path('prompts.txt').write_text('\n'.join(lines))
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'imagen_jax.sample', '--out=a', '--upto=8'),
      *('--prompts_file=prompts.txt', '--devices=1', '--steps=50'),
      f'--cascade={tiny_cascade.directory()}',
    ],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 300
  while len(_times()) < 5:
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  process.wait()
  before = _times()
  assert len(before) < 200, 'killed too late to show anything'
  code, out, err = run(capsys, '--steps=50', lines=lines)
  after = _times()
  assert code == 0 and len(after) == 200 and len(out) == 201  # and the sheet
  assert before.items() <= after.items()
  assert f'; {len(before)} were there, 0 failed' in err[-1]
  assert 'images/s' in err[-1]
  expected = tiny_cascade.load().sample(lines[:8], upto=8, steps=50)
  for path, image in zip(sorted(out, key=_number), expected):
    np.testing.assert_array_equal(pictures.read_png(path)[0], image)


def _number(path):
  name = pathlib.Path(path).stem.partition('_')[0]
  return int(name.rpartition('-')[2]) if '-' in name else 10**6


def test_what_was_cut_off_is_drawn_again(capsys):
  run(capsys)
  whole, half = sorted(pathlib.Path('a').glob('*_seed*.png'))
  data = half.read_bytes()
  half.write_bytes(data[: len(data) // 2])
  before = _times()
  left = pathlib.Path('a/.01234567.png')
  left.write_bytes(b'')
  os.utime(left, (0, 0))
  assert run(capsys)[0] == 0
  assert half.read_bytes() == data and not left.exists()
  assert _times()[whole.name] == before[whole.name]


def test_other_settings_are_refused(capsys):
  run(capsys)
  before = _times()
  code, out, err = run(capsys, '--steps=4')
  assert (code, out, len(err)) == (2, [], 1)
  assert "drawn with steps '5', not '4'; give another --out" in err[0]
  assert _times() == before


def test_a_bad_line_does_not_stop_the_others(capsys):
  code, out, err = run(capsys, lines=(FOX, b'\xff', KEYS))
  assert code == 1 and len(_times()) == 2
  assert err[0].startswith('error: prompts.txt:2: the line is not UTF-8')
  assert run(capsys, lines=(b'\xff',))[0] == 2


def test_a_picture_that_comes_to_nothing_does_not_stop_the_others(
  capsys, monkeypatch
):
  draw = cascade_lib.Cascade.draw

  def fails(self, requests, *args, **kwargs):
    if any(r.caption == KEYS for r in requests):
      raise FloatingPointError('not finite')
    return draw(self, requests, *args, **kwargs)

  monkeypatch.setattr(cascade_lib.Cascade, 'draw', fails)
  code, out, err = run(capsys, lines=(FOX, KEYS, CAR))
  assert code == 1 and len(_times()) == 2
  assert f'error: {KEYS!r}: not finite' in err
  assert err[-1].endswith('; 0 were there, 1 failed')
  monkeypatch.setattr(cascade_lib.Cascade, 'draw', draw)
  code, _, err = run(capsys, lines=(FOX, KEYS, CAR))
  assert code == 0 and err[-1].endswith('; 2 were there, 0 failed')


@pytest.fixture
def grey(monkeypatch):
  """Draws nothing but grey, at once; the numbers of pictures of the calls."""
  calls = []

  def draw(self, requests, plan, **options):
    calls.append(len(requests))
    return np.full((len(requests), 8, 8, 3), 99, np.uint8)

  monkeypatch.setattr(cascade_lib.Cascade, 'draw', draw)
  return calls


def test_thousands_of_prompts_in_parts(capsys, grey, monkeypatch):
  """Stopped in the midst of a part, gone on with, grown: nothing twice."""
  lines = [f'{FOX} {n}' for n in range(2_000)]
  stop, write = 864, pictures.write_png

  def interrupted(*args):
    if sum(grey) > stop:
      raise KeyboardInterrupt
    write(*args)

  monkeypatch.setattr(pictures, 'write_png', interrupted)
  assert run(capsys, '--shard=200', lines=lines)[0] == 130
  monkeypatch.setattr(pictures, 'write_png', write)
  assert len([*pathlib.Path('a').glob('*.tar')]) == 4
  there = len(_times())
  assert 40 < there <= 64
  grey.clear()
  code, out, err = run(capsys, '--shard=200', lines=lines[:1_900])
  assert code == 0 and out == [f'a/{n:05d}.tar' for n in range(10)]
  assert not _times() and sum(grey) == 1_900 - 800 - there
  assert f'drew {sum(grey)} pictures' in err[-1] and 'images/s' in err[-1]
  grey.clear()
  assert run(capsys, '--shard=200', lines=lines)[0] == 0 and sum(grey) == 100
  # The trainer reads them.
  index = sources.Shards(files='a', index_dir='index').open_index()
  assert len(index) == 2_000
  assert {index.text(row).captions[0] for row in index.rows} == set(lines)


def test_a_part_of_another_list_is_refused(capsys, grey):
  assert run(capsys, '--shard=2', lines=(FOX, KEYS, CAR))[0] == 0
  for lines, flags in (((FOX, CAR, KEYS), []), ((FOX, KEYS), ['--steps=9'])):
    code, _, err = run(capsys, '--shard=2', *flags, lines=lines)
    assert code == 2
    assert 'a/00000.tar is there, its picture' in err[-1]
  # One that is damaged is drawn again.
  path = pathlib.Path('a/00000.tar')
  whole = path.read_bytes()
  path.write_bytes(whole[:700])
  assert run(capsys, '--shard=2', lines=(FOX, KEYS, CAR))[0] == 0
  assert path.read_bytes() == whole
  # What a kill has left beside a part that is whole goes too.
  left = pathlib.Path(f'a/{pictures.slug(FOX)}_seed0_0.png')
  left.write_bytes(b'packed')
  assert run(capsys, '--shard=2', lines=(FOX, KEYS, CAR))[0] == 0
  assert not left.exists() and path.read_bytes() == whole


def test_a_part_with_a_failure_is_not_packed(capsys, grey, monkeypatch):
  draw = cascade_lib.Cascade.draw

  def fails(self, requests, *args, **kwargs):
    if any(r.caption == KEYS for r in requests):
      raise FloatingPointError('not finite')
    return draw(self, requests, *args, **kwargs)

  monkeypatch.setattr(cascade_lib.Cascade, 'draw', fails)
  assert run(capsys, '--shard=2', lines=(FOX, KEYS, CAR))[0] == 1
  assert len(_times()) == 1 and pathlib.Path('a/00001.tar').exists()
  monkeypatch.setattr(cascade_lib.Cascade, 'draw', draw)
  assert run(capsys, '--shard=2', lines=(FOX, KEYS, CAR))[0] == 0
  assert not _times() and pathlib.Path('a/00000.tar').exists()


def test_hosts_share_a_list(capsys):
  lines = [f'{FOX} {n}' for n in range(5)]
  drawn = []
  for host in range(2):
    code, out, _ = run(capsys, '--hosts=2', f'--host={host}', lines=lines)
    assert code == 0
    drawn.append(set(out))
  # What a machine draws is what one alone would.
  expected = tiny_cascade.load().sample(lines, upto=8)
  for request, image in zip(lines, expected):
    path = f'a/{pictures.slug(request)}_seed0_0.png'
    np.testing.assert_array_equal(pictures.read_png(path)[0], image)
  assert not drawn[0] & drawn[1] and len(drawn[0] | drawn[1]) == 5
  assert run(capsys, lines=lines)[2][-1].endswith('; 5 were there, 0 failed')
