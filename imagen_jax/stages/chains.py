"""What must hold between the stages of a cascade, and for their text encoder.

Section 2.4: each super-resolution stage starts where the one before it ended;
section 2.1: all of them read the embeddings of one frozen encoder.
"""

from imagen_jax.stages import stage as stage_lib


def check(stages):
  """Raises ValueError unless each stage starts where the last one ended."""
  if not 1 <= len(stages) <= 3:
    raise ValueError(f'{len(stages)} stages given, a cascade has 1 to 3')
  before = None
  for stage in stages:
    if stage.low_res != before:
      starts = 'nothing' if stage.low_res is None else f'{stage.low_res} px'
      given = 'nothing' if before is None else f'{before} px'
      raise ValueError(
        f'stage {stage.name} starts from {starts}, the stages before it give '
        f'{given}; order them from coarse to fine without gaps'
      )
    if stage.resolution <= (before or 0):
      raise ValueError(
        f'stage {stage.name} gives {stage.resolution} px, the stages before it '
        f'{before} px; leave out one of the two'
      )
    before = stage.resolution


def check_text(stages, width, max_length, as_if=False):
  """Raises ValueError unless every stage was made for this encoder.

  `as_if` tells whether it keeps the padding, as DeepFloyd IF needs it.
  """
  for stage in stages:
    if stage_lib.is_if(stage) and not as_if:
      raise ValueError(
        f'stage {stage.name} is of the IF kind, whose text keeps what the '
        'encoder gives at padding; take a text directory that import_if made'
      )
    if (stage.text_width, stage.max_length) != (width, max_length):
      raise ValueError(
        f'stage {stage.name} was made for text of width {stage.text_width} '
        f'and {stage.max_length} tokens, the encoder gives {width} and '
        f'{max_length}; take the encoder it was trained with'
      )


def check_layout(stages, layout_stage):
  """Raises ValueError unless the base is told what this layout stage places."""
  told, placed = stages[0].layout, layout_stage.layout
  names = [x and (x.things, x.colours) for x in (told, placed)]
  if names[0] != names[1]:
    raise ValueError(
      f'stage {stages[0].name} is told of {told and told.things}, the layout '
      f'stage places {placed.things}; take the one it was trained for'
    )
  given = stages[0].text_width, stages[0].max_length
  model = layout_stage.model
  if given != (model.text_width, model.max_length):
    raise ValueError(
      f'the layout stage was made for {model.max_length} tokens of width '
      f'{model.text_width}, stage {stages[0].name} for {given[1]} of '
      f'{given[0]}; take stages of one text encoder'
    )
