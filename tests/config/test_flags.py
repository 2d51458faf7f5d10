"""Flags as people type them: unknown ones, other tools' names, one word."""

import pytest

from imagen_jax import __main__ as main_lib
from imagen_jax import clip_score, embed
from imagen_jax.config import flags
from imagen_jax.sampling import sample_flags


def _error(parser, *words, capsys):
  with pytest.raises(SystemExit) as caught:
    parser.parse_args(words)
  assert caught.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('error: ')
  return line


@pytest.mark.parametrize(
  'word, message',
  [
    ('--promts_file=two words.txt', '--promts_file: the nearest is --prompts_'),
    ('--promts_file', '--promts_file: the nearest is --prompts_file'),
    ('--prompt=a red fox', '--prompt: write the sentence itself'),
    ('--prompt a red fox', '--prompt: write the sentence itself'),
    ('-p=a red fox', '-p: write the sentence itself'),
    ('--negative_prompt=a cat', 'here it is --negative;'),
    ('--num-images=2', 'it is --num_images;'),
    ('--num_images_per_prompt=2', 'here it is --num_images;'),
    ('--guidance_scale=7.5', 'here it is --guidance;'),
    ('--output=x', 'here it is --out;'),
    ('--height=64', 'here it is --size;'),
    ('--width', 'here it is --size;'),
    ('--num_inference_steps=50', 'here it is --steps;'),
    ('--out my pictures', "write --out='my pictures'"),
    ('--seed 3', "write --seed='3'"),
  ],
)
def test_no_flag_is_taken_for_a_sentence(word, message, capsys):
  line = _error(sample_flags.parser(), word, capsys=capsys)
  assert message in line
  # Behind a sentence too, and before one.
  for words in (['a fox', word], [word, 'a fox']):
    assert message in _error(sample_flags.parser(), *words, capsys=capsys)


def test_sentences_that_are_none_of_flags():
  parse = sample_flags.parser().parse_args
  for text in ('-- an aside', '-5 degrees', '- a - b', 'a --seed=3 b'):
    assert parse([text]).prompts == [text]
  assert parse(['--', '--prompt=a red fox']).prompts == ['--prompt=a red fox']
  args = parse(['--seed=3', '--', '--seed=4', '-x'])
  assert args.prompts == ['--seed=4', '-x'] and args.seed == 3
  assert parse(['--negative=--odd text', 'a']).negative == '--odd text'
  assert parse(['--negative', 'a cat', 'a fox']).negative == 'a cat'


@pytest.mark.parametrize('module', [clip_score, embed])
def test_every_command_has_it(module, capsys):
  line = _error(module.parser(), '--nonesuch=a b', capsys=capsys)
  assert 'unknown flag --nonesuch: the nearest is --' in line
  assert 'write --;' not in line  # there are no sentences here


def test_every_command_has_parsers_of_this_kind():
  import importlib

  for name in main_lib.COMMANDS:
    module = importlib.import_module(f'imagen_jax.{name}')
    assert isinstance(getattr(module, 'parser', flags.Parser)(), flags.Parser)


def test_debug_leaves_no_trace_in_the_arguments():
  args = sample_flags.parser().parse_args(['a', '--debug'])
  assert args.debug
  assert not hasattr(sample_flags.parser().parse_args(['a']), 'debug')
