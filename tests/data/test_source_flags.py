"""What --source names: a folder, or shards, wherever in it they lie."""

import pytest

from imagen_jax import data_report
from imagen_jax.data import sources
from tests.support import sets


def _source(*flags):
  args = data_report.parser().parse_args([*flags, '--resolution=8'])
  return data_report.source_flags.source(args, min_side=8, max_rejected=1.0)


@pytest.mark.parametrize(
  'names', [['0.tar'], ['part-0/0.tar', 'part-1/0.tar'], ['a/b/c/0.TAR']]
)
def test_shards_in_any_depth(names, tmp_path):
  for name in names:
    sets.shard(tmp_path / name, sets.sample(1))
  (tmp_path / 'notes.md').write_text('x')
  found = _source(f'--source={tmp_path}')
  assert isinstance(found, sources.Shards)
  assert len(found.open_index()) == len(names)


def test_a_folder_of_pictures_with_an_archive_deeper_is_a_folder(tmp_path):
  root = sets.folder(tmp_path / 'set', 3)
  sets.shard(root / 'old' / '0.tar', sets.sample(1))
  found = _source(f'--source={root}')
  assert isinstance(found, sources.Folder)
  assert found.open_index().about['passed'] == {
    'another kind of file': [1, 'old/0.tar']
  }


def test_settings_of_the_captions(tmp_path):
  root = sets.folder(tmp_path / 'set', 3)
  found = _source(f'--source={root}', '--lines', '--image=bild', '--caption=t')
  assert (found.lines, found.image, found.caption) == (True, 'bild', 't')
  sets.shards(tmp_path / 'tar', 1)
  assert _source(f'--source={tmp_path / "tar"}', '--lines').lines
  with pytest.raises(ValueError, match='--image is for a folder or a tfds:'):
    _source(f'--source={tmp_path / "tar"}', '--image=x')
