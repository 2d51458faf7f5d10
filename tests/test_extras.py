"""Tests that need the extra `data` are marked, so that its lane runs them."""

import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent / 'data'


def test_those_that_ask_for_a_library_are_marked():
  """By their own text, by a fixture, by a function that they are given."""
  files = ['test_tfds_export.py', 'test_folders.py', 'test_sources_killed.py']
  collected = subprocess.run(
    [sys.executable, '-m', 'pytest', '--collect-only', '-q', '-m', 'data_extra']
    + ['-p', 'no:cacheprovider', *(str(FOLDER / name) for name in files)],
    capture_output=True,
    text=True,
    cwd=FOLDER.parents[1],
  )
  names = {line.partition('::')[2] for line in collected.stdout.splitlines()}
  assert 'test_parquet' in names  # by its text
  assert 'test_tfrecord_is_read_forward_with_a_note' in names
  assert 'test_reading_needs_no_code_of_the_builder' in names  # by a fixture
  killed = 'test_losses_of_a_killed_run_are_those_of_a_whole_one'
  assert f'{killed}[_of_tfds]' in names  # by what it is given
  assert f'{killed}[_of_scenes]' not in names
  assert 'test_rows_of_metadata_that_say_too_little' not in names
