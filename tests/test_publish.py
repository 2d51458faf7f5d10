"""The Hub: published, found again, refused; against a stand-in on loopback."""

import io
import json
import re
import shutil
import sys

import numpy as np
import pytest

from imagen_jax import publish, sample
from imagen_jax.config import terminal
from imagen_jax.files import hub as hub_lib
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.text import checkpoints
from tests.support import hub_stand_in, tiny_cascade

REPO = 'me/tiny'


@pytest.fixture
def hub(tmp_path, monkeypatch):
  constants = pytest.importorskip('huggingface_hub.constants')
  monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('HF_TOKEN', 'hf_of_the_stand_in')
  with hub_stand_in.HubStandIn() as served:
    monkeypatch.setenv('HF_ENDPOINT', served.address)
    yield served


def _publish(*flags, cascade=None):
  directory = cascade or tiny_cascade.directory()
  return publish.main(
    [f'--cascade={directory}', f'--repo={REPO}', '--license=mit', *flags]
  )


def _files():
  root = tiny_cascade.directory()
  return {
    path.relative_to(root).as_posix(): path.read_bytes()
    for path in root.rglob('*')
    if path.is_file()
  }


def test_what_is_published_draws_as_what_was_bound(hub, tmp_path, capsys):
  assert _publish() == 0
  assert f'draw with hf://{REPO}' in capsys.readouterr().out
  assert set(hub.repos[REPO]) >= {*_files(), 'README.md'}
  drawn = cascade_lib.load_cascade(f'hf://{REPO}').sample(['a fox'], upto=8)
  expected = tiny_cascade.load().sample(['a fox'], upto=8)
  np.testing.assert_array_equal(drawn, expected)
  flags = ['a fox', f'--cascade=hf://{REPO}', '--upto=8']
  assert sample.main([*flags, f'--out={tmp_path / "out"}']) == 0


def test_bars_of_a_download_do_not_spell_their_moves(hub, monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  shown = Terminal()
  monkeypatch.setattr(sys, 'stderr', terminal.Stream(shown))
  hub.repos[REPO] = _files()
  hub_lib.local(f'hf://{REPO}')
  assert '\x1b[A' in shown.getvalue() and '\\x1b' not in shown.getvalue()
  assert isinstance(sys.stderr, terminal.Stream)


def test_a_second_time_nothing_is_downloaded(hub):
  hub.repos[REPO] = _files()
  first = hub_lib.local(f'hf://{REPO}')
  asked = [r for r in hub.requests if 'resolve' in r]
  commit = hub.commit(REPO)
  assert hub_lib.local(f'hf://{REPO}@{commit}') == first
  assert [r for r in hub.requests if 'resolve' in r] == asked != []


def test_a_text_directory_is_found_inside(hub):
  hub.repos[REPO] = _files()
  encoder = checkpoints.load_encoder(f'hf://{REPO}/text@main')
  text, _ = encoder.encode(['a fox'])
  expected, _ = tiny_cascade.load().encoder.encode(['a fox'])
  np.testing.assert_array_equal(text, expected)


def test_a_text_directory_is_published(hub):
  directory = tiny_cascade.directory() / 'text'
  flags = [f'--text={directory}', '--repo=me/t5', '--license=apache-2.0']
  assert publish.main(flags) == 0
  card = hub.repos['me/t5']['README.md'].decode()
  assert 'pipeline_tag: "feature-extraction"' in card and '"T5"' in card
  assert checkpoints.load_encoder('hf://me/t5').config.width == (
    tiny_cascade.WIDTH
  )


def test_nothing_but_weights_and_words_is_downloaded(hub):
  evil = {'run.py': b'', 'x.pkl': b'', 'text/y.bin': b'', 'a/b/c.json': b''}
  hub.repos[REPO] = _files() | evil
  root = hub_lib.local(f'hf://{REPO}')
  here = {p.relative_to(root).as_posix() for p in root.rglob('*.*')}
  assert not here & {'run.py', 'x.pkl', 'text/y.bin'}
  assert 'cascade.json' in here


@pytest.mark.parametrize(
  ('address', 'message'),
  [
    ('hf://me/none', 'there is no such repository, or it is private'),
    (f'hf://{REPO}@v9', "there is no revision 'v9'; give a branch"),
    ('hf://me', 'is no address of the Hub; write hf://user/name'),
    ('hf://me/../../etc', 'is no address of the Hub'),
    ('hf://me/gated', 'is gated: accept its licence on its page'),
    ('hf://me/bare', 'is no cascade directory: it has no cascade.json'),
    ('hf://me/cut', 'is truncated or altered: its sha256 is'),
  ],
)
def test_what_cannot_be_had_is_one_line(
  hub, tmp_path, capsys, address, message
):
  hub.repos |= {
    REPO: _files(),
    'me/bare': {'README.md': b'nothing'},
    'me/cut': _files() | {'s8/model.safetensors': b'cut'},
  }
  names = [n for n in _files() if n.endswith('model.safetensors')]
  hub.repos['me/cut'][names[0]] = hub.repos['me/cut'].pop(names[0])[:-1]
  hub.refuse['me/gated'] = 403, 'GatedRepo'
  flags = ['a fox', f'--cascade={address}', f'--out={tmp_path / "out"}']
  assert sample.main(flags) == 2
  lines = [x for x in capsys.readouterr().err.splitlines() if 'error' in x]
  assert len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize('how', ['nowhere', 'offline'])
def test_without_the_network(tmp_path, monkeypatch, how):
  constants = pytest.importorskip('huggingface_hub.constants')
  monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')  # nobody listens
  if how == 'offline':
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  with pytest.raises(ValueError, match='not in the cache, and the Hub cannot'):
    hub_lib.local('hf://me/tiny')


def test_without_the_library(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'huggingface_hub', None)
  with pytest.raises(ValueError, match=r"pip install 'imagen-jax\[hub\]'"):
    hub_lib.local('hf://me/tiny')


def test_a_dry_run_shows_the_card_and_contacts_nobody(hub, tmp_path, capsys):
  cell = {'share': 0.98, 'interval': [0.9, 1.0]}
  scores = tmp_path / 'scores.json'
  scores.write_text(json.dumps({'prompts': {'all right': cell}}))
  assert _publish('--dry_run', f'--scores={scores}') == 0
  out = capsys.readouterr().out
  head = out.split('---\n')[1]
  fields = dict(re.findall(r'^([\w-]+): (.*)$', head, re.MULTILINE))
  assert json.loads(fields['license']) == 'mit'
  assert json.loads(fields['pipeline_tag']) == 'text-to-image'
  (index,) = json.loads(fields['model-index'])
  (metric,) = index['results'][0]['metrics']
  assert metric == {'type': 'all right', 'value': 0.98}
  assert '# cascade.json' in out and not hub.requests


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--repo=me'], "'me' is no repository; write user/name"),
    (['--repo=me/../you'], 'is no repository'),
    (['--scores=none.json'], 'none.json is missing'),
  ],
)
def test_bad_flags_are_one_line(hub, capsys, flags, message):
  assert _publish(*flags) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith('error: ') and message in line
  assert not hub.repos


def test_a_licence_of_its_own_is_told(hub, tmp_path, capsys):
  root = shutil.copytree(tiny_cascade.directory(), tmp_path / 'cascade')
  manifest = json.loads((root / 'cascade.json').read_text())
  manifest['licence'] = 'For research alone.'
  (root / 'cascade.json').write_text(json.dumps(manifest))
  assert _publish(cascade=root) == 2
  assert 'give --license=other' in capsys.readouterr().err
  assert _publish('--license=other', cascade=root) == 0
  assert b'For research alone.' in hub.repos[REPO]['README.md']
