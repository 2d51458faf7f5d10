"""Prompts of users: every good line counts, every bad one is named."""

import pytest

from imagen_jax.sampling import prompts


def test_lines_of_a_file_follow_those_given(tmp_path):
  path = tmp_path / 'prompts.txt'
  # With the mark that some editors put before UTF-8, and Windows' line ends.
  path.write_bytes(b'\xef\xbb\xbfa key\r\n\r\n  a car \na fox\na key\n')
  assert prompts.read(['a fox'], path) == (['a fox', 'a key', 'a car'], [])


def test_a_bad_line_does_not_stop_the_others(tmp_path):
  path = tmp_path / 'prompts.txt'
  path.write_bytes(
    b'a fox\n\xff\n' + b'x' * 10_001 + b'\na\x00key\n' + 'ein Fühler'.encode()
  )
  good, complaints = prompts.read([], path)
  assert good == ['a fox', 'ein Fühler']
  for complaint, said in zip(
    complaints,
    (
      ':2: the line is not UTF-8 text (invalid start byte at byte 0)',
      ':3: the line has 10001 characters, more than 10000',
      ":4: the line holds the control character '\\x00'",
    ),
    strict=True,
  ):
    assert said in complaint and complaint.endswith('; it is left out')


@pytest.mark.parametrize(
  ('data', 'message'),
  [(b'\xff\xfea\x00', 'not UTF-8 text but UTF-16'), (None, 'cannot be read')],
)
def test_a_file_that_is_none(tmp_path, data, message):
  path = tmp_path / 'prompts.txt'
  if data is not None:
    path.write_bytes(data)
  with pytest.raises(ValueError, match=message):
    prompts.read([], path)


def test_a_bad_prompt_that_was_typed():
  for prompt, message in (
    ('a \udcff fox', 'is not UTF-8 text; type it again'),
    ('a\x07fox', 'control character'),
    ('a' * 10_001, '10001 characters'),
  ):
    with pytest.raises(ValueError, match=message):
      prompts.read([prompt])
