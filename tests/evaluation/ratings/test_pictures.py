"""Pairs are of one prompt; nothing but pixels reaches a browser."""

import io

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest

from imagen_jax.evaluation.ratings import pictures, questionnaires
from tests.support import studio

PAIRS = questionnaires.PROTOCOLS['pairs']
COCO = questionnaires.PROTOCOLS['coco_quality']


def test_sheets_strips_and_files_at_work_are_passed_over(tmp_path):
  root = studio.pictures(tmp_path / 'a', count=2)
  PIL.Image.new('RGB', (4, 4)).save(root / 'sheet.png')
  (root / '.12345678.png').write_bytes(b'half')
  (root / 'scores.json').write_text('{}')
  found = pictures.find(root, '--a')
  assert sorted(found) == sorted((p, i) for p in studio.PROMPTS for i in (0, 1))
  assert found['a red fox', 1].path == '0_1.png'


def test_photographs_count_under_each_of_their_captions(tmp_path):
  root = studio.photographs(tmp_path / 'b', ['one', 'two'])
  (root / '0.txt').unlink()
  (root / '0.json').write_text('{"captions": ["one", "a  first one"]}')
  found = pictures.find(root, '--b', photographs=True)
  assert {k: f.path for k, f in found.items()} == {
    ('one', 0): '0.jpg',
    ('a first one', 0): '0.jpg',
    ('two', 0): '1.jpg',
  }


def test_pairs_have_prompt_and_index_in_common(tmp_path):
  a = pictures.find(studio.pictures(tmp_path / 'a', count=2), '--a')
  b = dict(reversed(a.items()))
  assert pictures.pair(a, b) == sorted(a)


@pytest.mark.parametrize(
  ('a', 'b', 'said'),
  [
    ('pq', 'p', r"--a has the prompt 'q', --b has not; draw both from one"),
    ('p', 'pqr', r"--b has the prompt 'q' and 1 more, --a has not"),
    ('pp', 'p', r"--a has picture 1 of 'p', --b has not; draw as many"),
  ],
)
def test_different_prompts_are_refused(a, b, said):
  def found(prompts):
    return {(p, prompts[:n].count(p)): None for n, p in enumerate(prompts)}

  with pytest.raises(ValueError, match=said):
    pictures.pair(found(a), found(b))


def test_photographs_may_be_more():
  many = {('p', 0): None, ('q', 0): None}
  assert pictures.pair({('p', 0): None}, many, superset=True) == [('p', 0)]
  with pytest.raises(ValueError, match='--a has the prompt'):
    pictures.pair({('x', 0): None}, many, superset=True)


def test_directories_that_cannot_be_used(tmp_path):
  with pytest.raises(ValueError, match='--a=nowhere is no directory'):
    pictures.find('nowhere', '--a')
  with pytest.raises(ValueError, match='holds no picture with a prompt'):
    pictures.find(tmp_path, '--a')
  with pytest.raises(ValueError, match='or photographs with captions'):
    pictures.find(tmp_path, '--b', photographs=True)
  root = studio.pictures(tmp_path / 'twice', ['x'])
  (root / 'copy.png').write_bytes((root / '0_0.png').read_bytes())
  with pytest.raises(ValueError, match="two pictures of 'x', index 0: 0_0.png"):
    pictures.find(root, '--a')
  (root / 'copy.png').write_bytes((root / '0_0.png').read_bytes()[:-20])
  with pytest.raises(ValueError, match='copy.png is no whole PNG file'):
    pictures.find(root, '--a')
  (root / 'copy.png').unlink()
  studio.pictures(root, ['x'], index='one')
  with pytest.raises(ValueError, match='prompt or index in its metadata'):
    pictures.find(root, '--a')


def _categories(prompts, sheet=None, protocol=PAIRS, told=''):
  found = {(p, 0): pictures.Found(path='', category=told) for p in prompts}
  return pictures.categories(list(found), found, sheet, protocol)


def test_categories_come_from_a_sheet(tmp_path):
  sheet = tmp_path / 'sheet.csv'
  sheet.write_text('Prompts,Category\n"a fox, red",Colors\nsix,Counting\n')
  assert _categories(['six', 'a fox, red'], sheet) == {
    'six': 'Counting',
    'a fox, red': 'Colors',
  }
  with pytest.raises(ValueError, match="no row for 1 of 2 prompts, such as 'x"):
    _categories(['six', 'x'], sheet)
  sheet.write_text('prompt\tcategory\nsix\tCounting\n')
  assert _categories(['six'], sheet) == {'six': 'Counting'}
  sheet.write_text('text,kind\nsix,Counting\n')
  with pytest.raises(ValueError, match='has the columns text, kind; needed'):
    _categories(['six'], sheet)
  with pytest.raises(ValueError, match='cannot be read: No such file'):
    _categories(['six'], tmp_path / 'none.csv')


def test_categories_without_a_sheet():
  assert _categories(['x'], told='Rare') == {'x': 'Rare'}
  assert _categories(['x']) == {'x': ''}
  assert set(_categories(['a blue robot']).values()) == {'colour'}
  said = ['A man, on a horse', 'Two ladies', 'a manhole cover', 'childhood']
  assert list(_categories(said, protocol=COCO).values()) == [
    *['people'] * 2,
    *['no people'] * 2,
  ]


def _opened(data):
  return PIL.Image.open(io.BytesIO(data))


def test_a_browser_gets_pixels_alone(tmp_path):
  root = studio.pictures(tmp_path / 'a', ['secret'], value=7, cascade='secret')
  picture = pictures.freeze({'a': root}, 'a', '0_0.png')
  data = pictures.Store({'a': root}, None).png(picture)
  assert b'secret' in (root / '0_0.png').read_bytes()
  assert b'secret' not in data and b'0_0' not in data
  image = _opened(data)
  assert not image.info and image.size == (8, 8)
  assert (np.asarray(image) == 7).all()


def test_a_photograph_looks_like_a_drawing_from_outside(tmp_path):
  """The same format and shape, the middle of it."""
  root = studio.photographs(tmp_path / 'b', ['x'], size=(20, 12))
  picture = pictures.freeze({'b': root}, 'b', '0.jpg')
  image = _opened(pictures.Store({'b': root}, 12).png(picture))
  assert (image.format, image.size) == ('PNG', (12, 12))
  whole = np.asarray(PIL.Image.open(root / '0.jpg').convert('RGB'))
  assert (np.asarray(image) == whole[:, 4:16]).all()
  assert _opened(pictures.Store({'b': root}, 8).png(picture)).size == (8, 8)


def test_profiles_and_comments_stay_behind(tmp_path):
  image, text = PIL.Image.new('RGB', (8, 8)), PIL.PngImagePlugin.PngInfo()
  text.add_text('prompt', 'x')
  image.save(
    tmp_path / 'x.png', pnginfo=text, icc_profile=b'ours', dpi=(72, 72)
  )
  picture = pictures.freeze({'a': tmp_path}, 'a', 'x.png')
  data = pictures.Store({'a': tmp_path}, None).png(picture)
  chunks = {b'iCCP', b'pHYs', b'tEXt'}
  assert all(chunk in (tmp_path / 'x.png').read_bytes() for chunk in chunks)
  assert not any(chunk in data for chunk in chunks)


def test_a_control_is_a_mosaic(tmp_path):
  root = studio.photographs(tmp_path / 'b', ['x'], size=(48, 48))
  frozen = pictures.freeze({'b': root}, 'b', '0.jpg', effect='mosaic')
  image = np.asarray(_opened(pictures.Store({'b': root}, 48).png(frozen)))
  patches = image.reshape(12, 4, 12, 4, 3)
  assert (patches == patches[:, :1, :, :1]).all()
  assert len(np.unique(image[:, :, 0])) > 10


def test_a_picture_that_was_changed_is_not_shown(tmp_path):
  root = studio.pictures(tmp_path / 'a', ['x'])
  picture = pictures.freeze({'a': root}, 'a', '0_0.png')
  studio.pictures(root, ['x'], value=9)
  store = pictures.Store({'a': root}, None)
  with pytest.raises(ValueError, match='was changed after the study began'):
    store.png(picture)
  (root / '0_0.png').write_text('no picture')
  with pytest.raises(ValueError, match='0_0.png cannot be read: not a picture'):
    pictures.freeze({'a': root}, 'a', '0_0.png')
