"""Facts about the clip_score command, with a tiny CLIP of random weights."""

import json

import numpy as np
import pytest

from imagen_jax import clip_score
from imagen_jax.evaluation import clip_score as scoring
from imagen_jax.files import pictures
from tests.support import tiny_clip

PROMPTS = ('a red fox', 'two owls', 'a red fox', 'a very long prompt of words')


@pytest.fixture
def drawn(tmp_path):
  """Four pictures with prompts, one without, and a contact sheet."""
  rng, out = np.random.default_rng(0), tmp_path / 'images'
  out.mkdir()
  for i, prompt in enumerate((*PROMPTS, None)):
    image = rng.integers(0, 256, (40, 40, 3), np.uint8)
    text = {'prompt': prompt} if prompt else {}
    pictures.write_png(out / f'{i}.png', image, text)
  pictures.write_png(out / 'sheet.png', image, {})
  return out


def _run(tmp_path, *more, images='images', out='out'):
  return clip_score.main(
    [
      f'--images={tmp_path / images}',
      f'--clip={tmp_path / "clip"}',
      f'--out={tmp_path / out}',
      '--batch=8',
      *more,
    ]
  )


def _error(capsys):
  error = capsys.readouterr().err
  assert error.startswith('error: ') and error.count('\n') == 1, error
  return error


def test_scores_and_resumes(drawn, tmp_path, capsys, monkeypatch):
  clip = scoring.load(tiny_clip.directory(tmp_path / 'clip'), batch=8)
  assert _run(tmp_path) == 0
  printed = capsys.readouterr().out
  images = [pictures.read_png(drawn / f'{i}.png')[0] for i in range(4)]
  expected = clip.cosines(PROMPTS, [clip.prepare(x) for x in images])
  found = json.loads((tmp_path / 'out' / 'scores.json').read_text())
  score = 100 * np.maximum(expected, 0).mean()
  assert found['n'] == 4 and abs(found['clip_score'] - score) < 1e-4
  assert abs(found['cosine'] - expected.mean()) < 1e-6
  assert found['cut_prompts'] == 1  # 24 tokens to 16
  for words in (
    'mean of 100 max(cos, 0)',
    f'clip, sha256 {clip.sha256[:12]}',
    'left out    1 ',
    'cut         1 ',
  ):
    assert words in printed
  # Only what is new is measured.
  asked = []
  cosines = scoring.CLIP.cosines
  monkeypatch.setattr(
    scoring.CLIP,
    'cosines',
    lambda self, captions, x: (
      asked.extend(captions) or cosines(self, captions, x)
    ),
  )
  assert _run(tmp_path) == 0 and not asked
  assert capsys.readouterr().out == printed
  pictures.write_png(drawn / '1.png', images[0], {'prompt': 'an owl'})
  assert _run(tmp_path) == 0 and asked == ['an owl']
  # Drawn anew by the same prompt, and no byte longer or shorter.
  size = (drawn / '0.png').stat().st_size
  other = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
  pictures.write_png(drawn / '0.png', other, {'prompt': PROMPTS[0]})
  assert (drawn / '0.png').stat().st_size == size
  assert _run(tmp_path) == 0 and asked == ['an owl', PROMPTS[0]]
  (drawn / '2.png').unlink()
  assert _run(tmp_path) == 0
  assert json.loads((tmp_path / 'out' / 'scores.json').read_text())['n'] == 3


def test_bad_input_is_one_line(drawn, tmp_path, capsys):
  assert _run(tmp_path) == 2
  assert 'does not exist' in _error(capsys)
  directory = tiny_clip.directory(tmp_path / 'clip')
  assert _run(tmp_path, images='none') == 2
  assert 'is no directory of pictures' in _error(capsys)
  plain = tmp_path / 'plain'
  plain.mkdir()
  pictures.write_png(plain / 'a.png', np.zeros((8, 8, 3), np.uint8), {})
  assert _run(tmp_path, images='plain') == 2
  assert 'none with its prompt' in _error(capsys)
  (plain / 'b.png').write_bytes(b'no picture at all, and short')
  assert _run(tmp_path, images='plain') == 2
  assert 'no whole PNG' in _error(capsys)
  config = directory / 'config.json'
  config.write_text(config.read_text().replace('"clip"', '"t5"'))
  assert _run(tmp_path) == 2
  assert "'t5'" in _error(capsys)
  assert not (tmp_path / 'out').exists()
