"""A small HTTP server for pages: on this machine, or behind a token.

Not in the paper. A page is one function, `Request -> Response`. What every
page needs is here and nowhere else: who may come in, how much may be sent, and
what a browser is told to refuse.

  with server.listen(page, host='127.0.0.1', port=8765) as listening:
    listening.serve_forever()
"""

import dataclasses
import errno
import hmac
import http
import http.server
import io
import ipaddress
import re
import socket
import socketserver
import sys
import traceback
import urllib.parse
from collections.abc import Callable, Mapping

from imagen_jax.pages import connections, parsing

BODY = 32 << 10  # bytes of a form at most
_LINGER = 3  # seconds in which what nobody reads may still arrive
TOKEN = re.compile(r'[A-Za-z0-9_-]{16,200}')
HTML = 'text/html; charset=utf-8'

# Nothing from elsewhere, nothing inline, in nobody's frame.
_POLICY = (
  "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
  "connect-src 'self'; form-action 'self'; base-uri 'none'; "
  "frame-ancestors 'none'"
)
_ALWAYS = (
  ('Content-Security-Policy', _POLICY),
  ('X-Content-Type-Options', 'nosniff'),
  ('Cross-Origin-Resource-Policy', 'same-origin'),
  ('Cross-Origin-Opener-Policy', 'same-origin'),
  # Without a referrer at all a browser sends no Origin with its own forms.
  ('Referrer-Policy', 'same-origin'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What a browser asks for."""

  method: str  # 'GET' or 'POST'
  path: str
  query: Mapping[str, str] = dataclasses.field(default_factory=dict)
  form: Mapping[str, str] = dataclasses.field(default_factory=dict)
  cookies: Mapping[str, str] = dataclasses.field(default_factory=dict)
  file: bytes = b''  # sent instead of a form; see `listen`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
  """What it gets."""

  body: bytes = b''
  status: int = 200
  kind: str = HTML
  headers: tuple[tuple[str, str], ...] = ()
  keep: int = 0  # seconds that the browser may keep it; 0 = not at all


def line(status: int, said: str) -> Response:
  """One line of plain text."""
  return Response(
    status=status,
    body=(said + '\n').encode(),
    kind='text/plain; charset=utf-8',
  )


def go_to(path: str, *headers) -> Response:
  """Sends the browser on to another page of this server, by GET."""
  # Behind two slashes, of either kind, stands the name of another server.
  here = '/' + path.lstrip('/\\')
  return Response(status=303, headers=(('Location', here), *headers))


def cookie(name: str, value: str, days: int | None = None) -> tuple[str, str]:
  """A header that sets a cookie; days None = until the browser is closed.

  Lax, not Strict: a link to the page in a mail has to bring it along. Forms
  are kept from other sites by their Origin.
  """
  age = '' if days is None else f'; Max-Age={days * 86400}'
  return 'Set-Cookie', f'{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}'


def is_loopback(host: str) -> bool:
  """Tells whether only this machine can reach the address."""
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == 'localhost'


def listen(
  page: Callable[[Request], Response],
  *,
  host: str = '127.0.0.1',
  port: int = 8765,
  token: str | None = None,
  files: Mapping[str, int] | None = None,
) -> 'Server':
  """Takes the port; raises ValueError where that cannot be.

  Args:
    page: answers every request that is let in, in threads.
    host: address; one that others can reach needs a token.
    port: 0 = any that is free.
    token: who shows it comes in; None = everyone on this machine.
    files: paths where a file is sent instead of a form, as it is, and its
      bytes at most; None = nowhere.
  """
  if token is None and not is_loopback(host):
    raise ValueError(
      f'--host={host} can be reached from other machines; give --token=new as '
      'well, or leave out --host'
    )
  if token is not None and not TOKEN.fullmatch(token):
    raise ValueError(
      f'--token has {len(token)} characters; give 16 to 200 letters, digits, '
      '- or _, or new for one that is made for you'
    )
  try:
    return Server(page, host, port, token, files or {})
  except OSError as e:
    if e.errno == errno.EADDRINUSE:
      raise ValueError(
        f'port {port} of {host} is in use; give another with --port=N, or '
        '--port=0 for any that is free'
      ) from e
    reason = e.strerror or e
    raise ValueError(f'--host={host} --port={port}: {reason}') from e


class Server(http.server.ThreadingHTTPServer):
  """Made by `listen`; a thread a connection."""

  daemon_threads = True
  request_queue_size = 128  # browsers that knock at the same moment

  def __init__(self, page, host, port, token, files):
    self.page = page
    self.token = token
    self.files = files
    self.room = connections.Room(connections.CONNECTIONS, connections.CLIENT)
    if ':' in host:
      self.address_family = socket.AF_INET6
    super().__init__((host, port), _Handler)

  def server_bind(self):
    # Not HTTPServer's own, which asks the DNS for a name: minutes, offline.
    socketserver.TCPServer.server_bind(self)
    self.server_name, self.server_port = self.server_address[:2]

  @property
  def url(self) -> str:
    """Where the page is, with the token if there is one."""
    host = self.server_name
    if host in ('0.0.0.0', '::'):
      host = socket.gethostname()
    host = f'[{host}]' if ':' in host else host
    query = f'?token={self.token}' if self.token else ''
    return f'http://{host}:{self.server_port}/{query}'

  def process_request(self, request, client_address):
    if not self.room.enter(request, client_address[0]):
      self.shutdown_request(request)
      return
    super().process_request(request, client_address)

  def process_request_thread(self, request, client_address):
    try:
      super().process_request_thread(request, client_address)
    finally:
      self.room.leave(request)

  def handle_error(self, request, client_address):
    # What a page raises is told in `answer`: this is a client that left.
    if not isinstance(sys.exception(), OSError):
      traceback.print_exc()

  def refusal(self, request: Request, headers: Mapping) -> Response | None:
    """Says why a request is not let in; None where it is.

    Asked before anything that it brings along is read.
    """
    if refusal := self._strange(request, headers):
      return refusal
    if self.token is None:
      return None
    name = f'token_{self.server_port}'
    if request.method == 'GET' and self._knows(
      request.query.get('token', '')
    ):  # into a cookie, out of the address bar
      return go_to(request.path, cookie(name, self.token))
    bearer = headers.get('Authorization', '').removeprefix('Bearer ')
    if not any(map(self._knows, (request.cookies.get(name, ''), bearer))):
      return line(
        403, 'error: this page needs its token; use the link you were given'
      )
    return None

  def answer(self, request: Request) -> Response:
    """What the page says to a request that was let in."""
    try:
      return self.page(request)
    except Exception:
      traceback.print_exc()
      return line(
        500, 'error: something failed here; what you sent may not be stored'
      )

  def _strange(self, request, headers):
    """A refusal of what another site's page makes a browser send."""
    host = headers.get('Host', '')
    if len(headers.get_all('Host', ())) > 1:
      return line(400, 'error: more than one host is asked for')
    # Another site's name may lead to this address; its token is not ours.
    if self.token is None and not is_loopback(parsing.host(host)):
      return line(
        421, f'error: this page is not {parsing.printable(host)[:80]}'
      )
    # Pictures of this page, in another site's, or its connections, taken up.
    site, mode = (headers.get(f'Sec-Fetch-{x}') for x in ('Site', 'Mode'))
    if site == 'cross-site' and mode != 'navigate':
      return line(403, 'error: another site asks for this')
    origin = headers.get('Origin')
    if request.method == 'POST' and origin is not None:
      # An Origin is scheme://host:port; one that cannot be parsed is another.
      if origin.partition('://')[2] != host:
        return line(403, 'error: this form was sent by another site')
    return None

  def _knows(self, given):
    """Compares in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode(), self.token.encode())


class _Refused(Exception):
  """Carries the Response to a request that is not read to its end."""


class _Handler(http.server.BaseHTTPRequestHandler):
  """Reads requests, within limits, and writes responses."""

  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True  # an answer is one packet, if it is small

  def setup(self):
    super().setup()
    self._incoming = connections.Incoming(self.connection)
    self.rfile = io.BufferedReader(self._incoming)
    self.wfile = connections.Outgoing(self.connection)
    self._is_first = True

  def handle_one_request(self):
    idle = connections.HEAD if self._is_first else connections.IDLE
    self._is_first = False
    self._incoming.wait(idle, connections.HEAD)
    super().handle_one_request()

  def version_string(self):
    return 'imagen_jax'

  def log_message(self, *_):
    """Nothing: whoever rates or draws is not followed."""

  def do_GET(self):
    self._respond('GET')

  def do_HEAD(self):
    self._respond('GET')

  def do_POST(self):
    self._respond('POST')

  def _respond(self, method):
    # What is not read would be taken for the next request.
    unread = False
    if method == 'GET' and self._has_body():
      self.close_connection = True
    try:
      request = self._request(method)
      with self.server.room.answering(self.connection):
        response = self.server.answer(request)
    except _Refused as refused:
      if method == 'POST':
        unread = self.close_connection = True
      (response,) = refused.args
    self.send_response(response.status)
    self.send_header('Content-Type', response.kind)
    self.send_header('Content-Length', str(len(response.body)))
    kept = f'private, max-age={response.keep}, immutable'
    self.send_header('Cache-Control', kept if response.keep else 'no-store')
    for name, value in (*_ALWAYS, *response.headers):
      self.send_header(name, value)
    if self.close_connection:
      self.send_header('Connection', 'close')
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(response.body)
    if unread:
      self._linger()

  def _linger(self):
    """Lets what is on its way arrive: else the answer would be lost."""
    self.wfile.flush()
    self.connection.shutdown(socket.SHUT_WR)
    self._incoming.within(_LINGER)
    while self.rfile.read1(1 << 16):
      pass

  def _has_body(self):
    lengths = self.headers.get_all('Content-Length', ())
    return 'Transfer-Encoding' in self.headers or any(
      length.strip() != '0' for length in lengths
    )

  def _request(self, method):
    try:
      parts = urllib.parse.urlsplit(self.path)
      query = parsing.fields(parts.query)
    except ValueError as e:
      raise _Refused(line(400, 'error: no such address')) from e
    request = Request(
      method=method,
      path=parts.path,
      query=query,
      cookies=parsing.cookies(self.headers.get('Cookie', '')),
    )
    if refusal := self.server.refusal(request, self.headers):
      raise _Refused(refusal)
    if method != 'POST':
      return request
    limit = self.server.files.get(parts.path)
    if limit is None:
      return dataclasses.replace(request, form=self._form())
    return dataclasses.replace(request, file=self._file(limit))

  def _form(self):
    kinds = ('application/x-www-form-urlencoded',)
    body = self._body(BODY, kinds, 'form')
    try:
      return parsing.fields(body.decode())
    except ValueError as e:
      raise _Refused(line(400, 'error: the form cannot be read')) from e

  def _file(self, limit):
    # Kinds that another site's form cannot send.
    return self._body(limit, ('application/octet-stream', 'image/'), 'file')

  def _body(self, limit, kinds, what):
    """What comes behind the headers, at most `limit` bytes."""
    length = self.headers.get('Content-Length', '')
    is_plain = re.fullmatch('[0-9]{1,12}', length)
    if not is_plain or 'Transfer-Encoding' in self.headers:
      raise _Refused(line(411, f'error: the length of the {what} is missing'))
    if int(length) > limit:
      raise _Refused(
        line(413, f'error: {length} bytes sent, at most {limit} are taken')
      )
    if not self.headers.get_content_type().startswith(kinds):
      raise _Refused(line(415, f'error: this is not a {what}'))
    self._incoming.within(connections.seconds(int(length)))
    try:
      body = self.rfile.read(int(length))
    except TimeoutError as e:
      raise _Refused(line(408, f'error: the {what} came too slowly')) from e
    if len(body) < int(length):
      raise _Refused(line(400, f'error: the {what} was cut off'))
    return body
