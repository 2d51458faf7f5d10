"""Natural colours: what the table says."""

from imagen_jax.data.emoji_scenes import natural, splits


def test_what_everybody_knows():
  known = {'apple': 'red', 'lemon': 'yellow', 'fox': 'orange', 'tree': 'green'}
  assert known.items() <= natural.NATURAL.items()
  assert 'house' not in natural.NATURAL


def test_canonical():
  assert splits.canonical('apple', None) == 'red'
  assert splits.canonical('apple', 'blue') == 'blue'
  assert splits.canonical('house', None) is None
