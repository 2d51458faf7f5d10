"""What is around every page: its head, its style, its scripts.

document(title, body, ...)     a page of a server, as bytes
standalone(title, body, ...)   a page in one file, which needs nothing else
facts(rows)                    a table of names and what is said of them
asset(name)                    a style or a script, as a Response
"""

import html
import pathlib
from collections.abc import Sequence

from imagen_jax.pages import server

_FOLDER = pathlib.Path(__file__).parent
_KINDS = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
}
STYLE = 'style.css'  # of every page
# Of servers.
ASSETS = (STYLE, 'rate.css', 'rate.js', 'serve.css', 'serve.js', 'paint.js')
# A file from elsewhere may be opened anywhere: it asks nobody for anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(
  title: str, body: str, scripts: Sequence[str] = (), style: str | None = None
) -> bytes:
  """A page of a server.

  Args:
    title: plain text.
    body: HTML, whatever came from outside escaped.
    scripts: assets that make it handier, in their order.
    style: an asset, after the style of every page.
  """
  tail = ''.join(f'<script src="/{name}" defer></script>' for name in scripts)
  head = ''.join(
    f'<link rel="stylesheet" href="/{name}">' for name in (STYLE, style) if name
  )
  return _page(title, f'{head}{tail}', body).encode()


def standalone(title: str, body: str, *styles: str) -> str:
  """A page in one file: its styles are in it, its pictures must be too.

  Args:
    title: plain text.
    body: HTML, whatever came from outside escaped; pictures as `data:`.
    styles: names of files beside this one, after the style of every page.
  """
  style = '\n'.join(
    (_FOLDER / name).read_text(encoding='utf-8') for name in (STYLE, *styles)
  )
  policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
  return _page(title, f'{policy}<style>\n{style}</style>', body)


def facts(rows: Sequence[tuple[str, str]]) -> str:
  """Names and what is said of them, plain text, as a table."""
  cells = ''.join(
    f'<tr><th scope="row">{html.escape(str(name))}</th>'
    f'<td>{html.escape(str(said))}</td></tr>'
    for name, said in rows
  )
  return f'<div class="wide"><table class="facts">{cells}</table></div>'


def _page(title, head, body):
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
    '<meta name="robots" content="noindex">'
    f'<title>{html.escape(title)}</title>{head}</head>\n'
    f'<body>\n{body}\n</body></html>\n'
  )


def asset(name: str) -> server.Response | None:
  """A style or a script; None where there is none of the name."""
  if name == 'favicon.ico':  # browsers ask for it unasked
    return server.Response(status=204, keep=86400)
  if name not in ASSETS:
    return None
  path = _FOLDER / name
  # Asked for again with each page: a newer version shows at once.
  return server.Response(body=path.read_bytes(), kind=_KINDS[path.suffix])
