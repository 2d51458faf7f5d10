"""What is around every page: its head, its style, its scripts.

document(title, body, script)   a page, as bytes
asset(name)                     a style or a script, as a Response
"""

import html
import pathlib

from imagen_jax.pages import server

_FOLDER = pathlib.Path(__file__).parent
_KINDS = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
}
ASSETS = ('style.css', 'rate.js')


def document(title: str, body: str, script: str | None = None) -> bytes:
  """A page.

  Args:
    title: plain text.
    body: HTML, whatever came from outside escaped.
    script: an asset that makes it handier; it works without.
  """
  tail = f'<script src="/{script}" defer></script>' if script else ''
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
    '<meta name="robots" content="noindex">'
    f'<title>{html.escape(title)}</title>'
    f'<link rel="stylesheet" href="/style.css">{tail}</head>\n'
    f'<body>\n{body}\n</body></html>\n'
  ).encode()


def asset(name: str) -> server.Response | None:
  """A style or a script; None where there is none of the name."""
  if name == 'favicon.ico':  # browsers ask for it unasked
    return server.Response(status=204, keep=86400)
  if name not in ASSETS:
    return None
  path = _FOLDER / name
  # Asked for again with each page: a newer version shows at once.
  return server.Response(body=path.read_bytes(), kind=_KINDS[path.suffix])
