"""Flags for the settings of `stages.SETTINGS`: one each, with type and range.

setting_flags.add(parser)                flags of every setting of a picture
cascade.plan(**setting_flags.given(args))
"""

import argparse

from imagen_jax.sampling import presets
from imagen_jax.stages import settings as settings_lib

EACH = 'one value for all stages or one for each, separated by commas'
OWN = "the stages' own"


def add(parser, names=None, *, lists=EACH, default=OWN):
  """Adds a flag for each setting: the usual ones, and the rare ones apart.

  Args:
    parser: of a command.
    names: of the settings; None = all that a picture may be given.
    lists: what several values mean.
    default: what none means.
  """
  names = settings_lib.offered() if names is None else names
  settings = [settings_lib.SETTINGS[name] for name in names]
  for title, group in (
    ('settings of the stages', [s for s in settings if s.usual]),
    ('rare settings of the stages', [s for s in settings if not s.usual]),
  ):
    added = parser.add_argument_group(title, f'Each takes {lists}.')
    for setting in group:
      _add(added, setting, default)


def add_preset(parser, default=f'{OWN} settings'):
  """The flag for the settings of all stages at once."""
  parser.add_argument(
    '--preset',
    metavar='NAME',
    help=f'settings of all stages, one of {", ".join(presets.PRESETS)} or of '
    "the cascade's own; the flags of settings go before it (default: "
    f'{default})',
  )


def given(args, names=None) -> dict:
  """{name: what was given} of the settings that were."""
  names = settings_lib.offered() if names is None else names
  values = {name: getattr(args, name) for name in names}
  return {name: value for name, value in values.items() if value is not None}


def _add(group, setting, default):
  said = f'{setting.help}; {_range(setting)} (default: {default})'
  if setting.kind is bool:
    group.add_argument(
      f'--{setting.name}',
      action=argparse.BooleanOptionalAction,
      help=f'{setting.help}; of all stages (default: {default})',
    )
    return
  group.add_argument(
    f'--{setting.name}',
    type=list_of(setting),
    metavar=f'{setting.value}[,{setting.value}...]',
    help=said.replace('%', '%%'),
  )


def _range(setting):
  """What its values may be, for the help."""
  if not setting.choices:
    return f'must {setting.must}'
  return f'one of {", ".join(setting.choices)}'


def list_of(setting):
  """A type: one value or several separated by commas."""

  def parse(text):
    try:
      return setting.parse_list(text)
    except ValueError as e:
      raise argparse.ArgumentTypeError(str(e)) from None

  return parse
