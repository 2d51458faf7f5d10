"""The page's HTML: the form, and room for what the script puts in.

body(cascade, kept) -> text, whatever came from outside escaped
"""

import html
import json

from imagen_jax import stages
from imagen_jax.pages.playground import orders
from imagen_jax.sampling import edits, presets

# Shown where nothing was drawn yet, if the cascade knows the words.
_EXAMPLES = (
  'a red fox at sunset',
  'two pink keys under a night sky',
  'a big yellow house next to a tree on the beach',
)


def body(cascade, kept):
  """All between the tags of the page's body.

  Args:
    cascade: that draws.
    kept: where finished pictures go, in words, or None.
  """
  sizes = [stage.resolution for stage in cascade.stages]
  where = (
    f'Pictures are kept in {kept}, the last ones here as well.'
    if kept
    else 'Pictures stay in memory until the server stops; save those you want.'
  )
  return (
    '<header class="top"><h1>Imagen</h1><p>'
    f'{" → ".join(map(str, sizes))} pixels, drawn where this page comes from. '
    'Nothing is sent anywhere else.</p></header>'
    '<noscript><p class="notice">This page needs JavaScript, its own alone: '
    'please allow it, or use python -m imagen_jax.sample.</p></noscript>'
    f'<main class="studio">{_form(cascade)}{_VIEW}'
    '<section class="history" aria-labelledby="history-title">'
    '<h2 id="history-title">History</h2>'
    f'<p class="hint" id="empty">{html.escape(where)}</p>'
    '<ul id="history"></ul></section></main>'
    '<p class="unseen" role="status" id="news"></p>'
    '<dialog aria-label="The picture at full size"><img alt="">'
    '<button type="button">Close</button></dialog>'
  )


def _form(cascade):
  data = html.escape(json.dumps(_presets(cascade)))
  known = ''
  if cascade.words is not None:
    words = ', '.join(sorted(cascade.words))
    known = (
      '<details class="words"><summary>Words that this cascade knows</summary>'
      f'<p>{html.escape(words)}</p></details>'
    )
  return (
    f'<form id="order" class="card" method="post" action="/draw" '
    f'autocomplete="off" novalidate data-presets="{data}">'
    '<label class="wide" for="prompt">What to draw</label>'
    f'<textarea id="prompt" name="prompt" rows="3" '
    f'maxlength="{orders.LONGEST}" aria-describedby="prompt-hint"></textarea>'
    '<p class="hint" id="prompt-hint">Enter draws; Shift and Enter begin a '
    'new line.</p><p class="notice" id="wrong" role="alert" hidden></p>'
    f'<button id="draw">Draw</button>{_examples(cascade)}'
    f'<div class="row pairs">{_select("preset", "Preset", _names(cascade))}'
    f'{_select("upto", "Size", _upto(cascade))}'
    f'{_select("shape", "Shape", _SHAPES)}'
    '<label>Seed<input name="seed" inputmode="numeric" placeholder="random">'
    f'</label></div>{_start()}{_stages(cascade)}{_more()}{known}</form>'
  )


def _stages(cascade):
  """The table of the numbers that each stage has."""
  rows = []
  for stage in cascade.stages:
    r = stage.resolution
    cells = [f'<th scope="row">{r} px</th>']
    for setting in _COLUMNS:
      if not setting.base and stage.low_res is None:
        cells.append('<td class="none">–</td>')
        continue
      mode = 'numeric' if setting.number is int else 'decimal'
      cells.append(
        f'<td><input name="{setting.name}_{r}" inputmode="{mode}" '
        f'aria-label="{setting.label}, {r} px"></td>'
      )
    rows.append(f'<tr data-size="{r}">{"".join(cells)}</tr>')
  heads = ''.join(
    f'<th scope="col" title="{_title(setting)}">{setting.label}</th>'
    for setting in _COLUMNS
  )
  return (
    '<table class="stages"><caption>Each stage; what is left empty is the '
    f"preset's</caption>"
    f'<thead><tr><th scope="col">Stage</th>{heads}</tr></thead>'
    f'<tbody>{"".join(rows)}</tbody></table>'
  )


_COLUMNS = [stages.SETTINGS[name] for name in orders.EACH]


_SHAPES = [('', 'square'), ('wide', 'wide, 3 : 2'), ('tall', 'tall, 2 : 3')]
_CHANGES = [
  ('', 'Change all of it'),
  ('mask', 'Change a part of it'),
  ('outpaint', 'Draw around it'),
  ('upscale', 'Enlarge it'),
]


def _start():
  """A picture to start from, and what is to become of it."""
  return (
    '<details class="start" id="start-from"><summary>Start from a picture'
    '</summary><div class="changes"><label>Picture'
    '<input type="file" id="file" accept="image/*" '
    'aria-describedby="file-hint"></label>'
    '<p class="hint" id="file-hint">Or <em>Start from it</em> below one that '
    'was drawn here.</p>'
    '<p class="chosen" id="chosen" hidden><img alt=""><span></span>'
    '<button type="button" class="quiet">Leave out<span class="unseen"> the '
    'picture</span></button></p><input type="hidden" name="picture">'
    '<div id="changes" class="changes" hidden><div class="row">'
    f'{_select("change", "What to do", _CHANGES)}'
    '<label data-for=" mask">Strength<input name="strength" '
    f'inputmode="decimal" data-usual="{edits.STRENGTH}"></label>'
    '<label data-for="outpaint" hidden>Border, share of the side<input '
    f'name="outpaint" inputmode="decimal" placeholder="{orders.OUTPAINT}">'
    '</label></div><p class="hint" id="change-hint"></p>'
    f'{_PAINT}</div></div></details>'
  )


_PAINT = (
  '<fieldset class="mask" data-for="mask" hidden><legend>What to draw anew'
  '</legend><div class="easel" id="easel"><img alt="">'
  '<canvas id="canvas" role="img" aria-label="What is painted over the '
  'picture is drawn anew. Without a pointer, choose a mask file below.">'
  '</canvas></div><p class="hint">Paint over what is to be drawn anew.</p>'
  '<div class="brush"><label>Brush<input type="range" '
  'id="brush-size" min="2" max="40" value="12"></label>'
  '<button type="button" class="quiet" id="unpaint">Clear<span '
  'class="unseen"> what is painted</span></button></div>'
  '<label>Or a mask file, bright where to draw, dark or transparent elsewhere'
  '<input type="file" id="mask-file" accept="image/*"></label>'
  '<p class="chosen" id="masked" hidden><img alt=""><span></span>'
  '<button type="button" class="quiet">Leave out<span class="unseen"> the '
  'mask</span></button></p><input type="hidden" name="mask"></fieldset>'
)


def _more():
  settings = [stages.SETTINGS[name] for name in orders.ALL]
  usual = ''.join(_field(setting) for setting in settings if setting.usual)
  rare = ''.join(_field(setting) for setting in settings if not setting.usual)
  return (
    '<details class="more"><summary>More settings</summary>'
    '<label class="wide">What to avoid<input name="negative" '
    f'maxlength="{orders.LONGEST}" placeholder="nothing"></label>'
    f'<div class="row">{usual}</div></details>'
    '<details class="more"><summary>Rare settings</summary><p class="hint">'
    'A value for all stages, or one for each, separated by commas.</p>'
    f'<div class="row">{rare}</div></details>'
  )


def _field(setting):
  """Of a setting of all stages: its words to choose from, or its values."""
  if setting.choices:
    choices = [('', 'as the preset'), *((c, c) for c in setting.choices)]
    return _select(setting.name, setting.label, choices, _title(setting))
  return (
    f'<label title="{_title(setting)}">{setting.label}<input '
    f'name="{setting.name}" placeholder="as the preset"></label>'
  )


def _title(setting):
  """What a setting does and may be, for who rests on it with the mouse."""
  must = '' if setting.choices else f'; must {setting.must}'
  return html.escape(f'{setting.help[0].upper()}{setting.help[1:]}{must}')


def _select(name, label, choices, title=''):
  options = ''.join(
    f'<option value="{html.escape(str(value))}">{html.escape(text)}</option>'
    for value, text in choices
  )
  about = f' title="{title}"' if title else ''
  return (
    f'<label{about}>{label}<select name="{name}">{options}</select></label>'
  )


def _names(cascade):
  known = presets.PRESETS | dict(cascade.presets)
  return [('', 'default'), *((name, name) for name in known)]


def _upto(cascade):
  sizes = [stage.resolution for stage in cascade.stages]
  last = [('', f'{sizes[-1]} px')]
  return [*last, *((size, f'{size} px') for size in reversed(sizes[:-1]))]


def _examples(cascade):
  some = [e for e in _EXAMPLES if not _unknown(e, cascade)]
  if not some:
    return ''
  buttons = ''.join(
    f'<button type="button" class="chip">{html.escape(e)}</button>'
    for e in some
  )
  return f'<div class="examples"><span>Try</span>{buttons}</div>'


def _unknown(sentence, cascade):
  return cascade.words is not None and set(sentence.split()) - cascade.words


def _presets(cascade):
  """{preset: {field: number}}: what the empty fields of the table mean."""
  table = {}
  for name, _ in _names(cascade):
    plan = cascade.plan(preset=name or None)
    table[name] = {
      f'{field}_{stage.resolution}': f'{getattr(sampling, field):g}'
      for stage, sampling in zip(cascade.stages, plan)
      for field in orders.EACH
    }
  return table


_VIEW = (
  '<section class="view" aria-label="Picture" id="view">'
  '<a class="picture" id="picture" href="#view"><img alt="" hidden>'
  '<span id="nothing">Your picture appears here, stage by stage.</span></a>'
  '<ol class="ladder" id="ladder" hidden></ol>'
  '<div class="about" id="about" hidden><p class="now" id="now"></p>'
  '<h2 class="said" id="said" dir="auto"></h2><p class="notice" id="failed" '
  'hidden></p><ul class="remarks" id="remarks"></ul>'
  '<div class="do"><button type="button" id="stop">Stop</button>'
  '<a class="button" id="save">Save PNG</a>'
  '<button type="button" class="quiet" id="another">Another seed</button>'
  '<button type="button" class="quiet" id="again">Edit settings</button>'
  '<button type="button" class="quiet" id="start">Start from it</button>'
  '<button type="button" class="quiet" id="forget">Remove</button></div>'
  '<details id="recipe"><summary>Recipe</summary>'
  '<p class="hint">Draws the same picture again; the PNG holds it too.'
  '</p><p class="hint"><a id="save-mask" hidden>Save the mask</a></p>'
  '<h3 id="command-title">Command line</h3><div class="code">'
  '<pre tabindex="0" aria-labelledby="command-title" id="command"></pre>'
  '<button type="button" class="quiet" data-copy="command">Copy<span '
  'class="unseen"> the command line</span></button></div>'
  '<h3 id="python-title">Python</h3><div class="code">'
  '<pre tabindex="0" aria-labelledby="python-title" id="python"></pre>'
  '<button type="button" class="quiet" data-copy="python">Copy<span '
  'class="unseen"> the Python lines</span></button></div></details></div>'
  '</section>'
)
