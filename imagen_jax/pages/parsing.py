"""What a browser sends, taken apart: forms, cookies, the name of the host."""

import http.cookies
import re
import urllib.parse

FIELDS = 32  # of a form at most
_HOST = re.compile(
  r'(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::[0-9]{1,5})?', re.ASCII
)


def fields(text: str) -> dict[str, str]:
  """{name: value}, the first of each name; ValueError where too many."""
  pairs = urllib.parse.parse_qsl(
    text, keep_blank_values=True, max_num_fields=FIELDS
  )
  return dict(reversed(pairs))


def cookies(text: str) -> dict[str, str]:
  """{name: value}; what is no cookie counts as none."""
  try:
    jar = http.cookies.SimpleCookie(text)
  except http.cookies.CookieError:
    return {}
  return {name: morsel.value for name, morsel in jar.items()}


def host(text: str) -> str:
  """'localhost:80' -> 'localhost', '[::1]:80' -> '::1'; '' = it is no host."""
  match = _HOST.fullmatch(text)
  return (match[1] or match[2]) if match else ''


def printable(text: str) -> str:
  """The text without what a terminal or a browser would take for orders."""
  return ''.join(c for c in text if c.isprintable())
