"""Natural colours: the table is what the drawings say."""

from imagen_jax.data.emoji_scenes import natural
from tools import derive_natural


def test_tables_follow_from_the_drawings():
  tables = natural.NATURAL, natural.DOUBTFUL
  assert derive_natural.derive() == tables


def test_the_tables_are_printed_ready_to_be_copied(capsys):
  derive_natural.main()
  found = {}
  exec(capsys.readouterr().out, found)
  assert found['NATURAL'] == natural.NATURAL
  assert found['DOUBTFUL'] == natural.DOUBTFUL
