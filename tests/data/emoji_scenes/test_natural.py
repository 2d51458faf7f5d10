"""Natural colours: the table is what the drawings say."""

from imagen_jax.data.emoji_scenes import natural, splits


def test_tables_follow_from_the_drawings():
  assert natural.derive() == (natural.NATURAL, natural.DOUBTFUL)


def test_what_everybody_knows():
  known = {'apple': 'red', 'lemon': 'yellow', 'fox': 'orange', 'tree': 'green'}
  assert known.items() <= natural.NATURAL.items()
  assert 'house' not in natural.NATURAL


def test_canonical():
  assert splits.canonical('apple', None) == 'red'
  assert splits.canonical('apple', 'blue') == 'blue'
  assert splits.canonical('house', None) is None
