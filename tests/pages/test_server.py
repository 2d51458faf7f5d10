"""The server lets in whom it should, takes no more than it should."""

import contextlib
import http.client
import threading

import pytest

from imagen_jax.pages import parsing, server

TOKEN = 'a-token-of-some-length'
FILE = 1 << 20  # bytes that may be sent


def _echo(request):
  if request.path == '/broken':
    raise RuntimeError('by intent')
  said = f'{request.method} {request.path} {request.form.get("x", "")}'
  said += f'{len(request.file)} bytes' if request.file else ''
  return server.Response(body=said.encode())


@contextlib.contextmanager
def served(page=_echo, token=None):
  """A server in a thread: (host, port)."""
  with server.listen(
    page, port=0, token=token, files={'/file': FILE}
  ) as listening:
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield listening.server_address
    finally:
      listening.shutdown()
      thread.join()


def ask(address, method='GET', path='/', body=None, **headers):
  """(status, headers, text); nothing is followed or added."""
  link = http.client.HTTPConnection(*address, timeout=10)
  kind = {'Content-Type': 'application/x-www-form-urlencoded'}
  headers = {k.replace('_', '-'): v for k, v in headers.items()}
  link.request(method, path, body, (kind if body else {}) | headers)
  answer = link.getresponse()
  text = answer.read().decode()
  link.close()
  return answer.status, answer.headers, text


@pytest.fixture(scope='module')
def open_server():
  with served() as address:
    yield address


@pytest.fixture(scope='module')
def closed_server():
  with served(token=TOKEN) as address:
    yield address


def test_pages_are_served_with_a_strict_policy(open_server):
  status, headers, text = ask(open_server, path='/x?y=1')
  assert (status, text) == (200, 'GET /x ')
  policy = headers['Content-Security-Policy']
  assert policy.startswith("default-src 'none'") and 'unsafe' not in policy
  assert 'http' not in policy and '*' not in policy
  assert "frame-ancestors 'none'" in policy
  assert headers['X-Content-Type-Options'] == 'nosniff'
  assert headers['Cache-Control'] == 'no-store'
  assert headers['Server'] == 'imagen_jax'


def test_forms_arrive(open_server):
  assert ask(open_server, 'POST', '/f', 'x=a+b%21&x=2')[2] == 'POST /f a b!'
  status, headers, text = ask(open_server, 'HEAD')
  assert (status, text) == (200, '') and headers['Content-Length'] == '6'


def test_a_form_may_be_as_large_as_the_limit(open_server):
  fits = 'x=' + 'y' * (server.BODY - 2)
  assert ask(open_server, 'POST', '/', fits)[0] == 200
  assert ask(open_server, 'POST', '/', fits + 'y')[0] == 413
  # Nothing is read of what only claims to be large.
  assert ask(open_server, 'POST', '/', 'x=1', Content_Length='9' * 12)[0] == 413


def test_files_arrive_where_they_are_taken(open_server):
  kind = {'Content_Type': 'image/png'}
  for size, status in ((FILE, 200), (FILE + 1, 413), (8 * FILE, 413)):
    got, _, said = ask(open_server, 'POST', '/file', b'x' * size, **kind)
    assert got == status
    assert said == f'POST /file {size} bytes' or said.startswith(
      f'error: {size} bytes sent, at most {FILE} are taken'
    )
  assert ask(open_server, 'POST', '/', b'x', **kind)[0] == 415
  # A form of another site cannot look like a file.
  assert ask(open_server, 'POST', '/file', 'x=1')[0] == 415


def test_nothing_is_read_of_those_who_may_not_come_in(closed_server):
  """The answer is there before what they claim to send."""
  link = http.client.HTTPConnection(*closed_server, timeout=10)
  link.putrequest('POST', '/file')
  link.putheader('Content-Type', 'image/png')
  link.putheader('Content-Length', str(FILE))
  link.endheaders(b'not all of it')
  assert link.getresponse().status == 403
  link.close()


@pytest.mark.parametrize(
  ('body', 'headers', 'status'),
  [
    (None, {'Transfer_Encoding': 'chunked'}, 411),
    ('x=1', {'Content_Length': '-1'}, 411),
    ('{"x": 1}', {'Content_Type': 'application/json'}, 415),
    ('x=1', {'Content_Type': 'text/plain'}, 415),
    (b'x=\xff\xfe', {}, 400),
    ('&'.join(f'x{n}=1' for n in range(parsing.FIELDS + 1)), {}, 400),
    ('x=1', {'Origin': 'http://evil.example'}, 403),
    ('x=1', {'Origin': 'null'}, 403),
    ('x=1', {'Origin': 'http://['}, 403),
    ('x=1', {'Sec_Fetch_Site': 'cross-site', 'Sec_Fetch_Mode': 'cors'}, 403),
    ('x=1', {'Host': 'evil.example'}, 421),
    ('x=1', {'Host': '[::1].evil.example'}, 421),
    ('x=1', {'Host': '[::1]:80.evil.example'}, 421),
    ('x=1', {'Host': '[::1'}, 421),
    ('x=1', {'Host': '127.0.0.1:80@evil.example'}, 421),
    ('x=1', {'Host': 'localhost:evil.example'}, 421),
    ('x=1', {'Host': 'localhost.evil.example'}, 421),
    ('x=1', {'Host': ''}, 421),
    ('x=1', {'Transfer_Encoding': 'chunked', 'Content_Length': '3'}, 411),
  ],
)
def test_what_is_refused(open_server, body, headers, status):
  got, _, said = ask(open_server, 'POST', '/', body, **headers)
  assert got == status
  assert said.startswith('error: ') and said.count('\n') == 1


def test_other_names_of_this_machine_are_fine(open_server):
  for host in ('localhost:9000', '127.0.0.1', '[::1]:80'):
    assert ask(open_server, Host=host)[0] == 200
  own = f'http://127.0.0.1:{open_server[1]}'
  assert ask(open_server, 'POST', '/', 'x=1', Origin=own)[0] == 200


def test_other_sites_may_link_here_but_not_take(open_server):
  site = {'Sec_Fetch_Site': 'cross-site'}
  assert ask(open_server, Sec_Fetch_Mode='navigate', **site)[0] == 200
  assert ask(open_server, Sec_Fetch_Mode='no-cors', **site)[0] == 403
  assert ask(open_server, Sec_Fetch_Site='same-origin')[0] == 200


def test_a_page_that_fails_says_so_and_the_next_works(open_server, capsys):
  status, _, said = ask(open_server, path='/broken')
  assert status == 500 and 'by intent' not in said
  assert 'by intent' in capsys.readouterr().err
  assert ask(open_server)[0] == 200


def test_a_token_is_asked_for(closed_server):
  for path in ('/', '/?token=', f'/?token={TOKEN}x', f'/?token={TOKEN[:-1]}'):
    status, _, said = ask(closed_server, path=path)
    assert status == 403 and said.startswith('error: this page needs its token')
  assert ask(closed_server, 'POST', '/', 'x=1')[0] == 403
  bad = f'token_{closed_server[1]}=wrong-token-of-length'
  assert ask(closed_server, Cookie=bad)[0] == 403


def test_a_token_becomes_a_cookie(closed_server):
  status, headers, _ = ask(closed_server, path=f'/p?token={TOKEN}')
  assert status == 303 and headers['Location'] == '/p'
  cookie = headers['Set-Cookie']
  assert 'HttpOnly' in cookie and 'SameSite=Lax' in cookie
  pair = cookie.partition(';')[0]
  assert ask(closed_server, path='/p', Cookie=pair)[0] == 200
  assert ask(closed_server, Authorization=f'Bearer {TOKEN}')[0] == 200
  # Behind a token, the machine may be called as it likes.
  assert ask(closed_server, Cookie=pair, Host='lab.example')[0] == 200


@pytest.mark.parametrize(
  ('path', 'where'),
  [
    ('/\\evil.example', '/evil.example'),
    ('//evil.example/x', '/x|/evil.example/x'),
    ('/\\/\\evil.example', '/evil.example'),
    ('\\\\evil.example', '/evil.example'),
    ('http://evil.example/x', '/x'),
    ('/a//b', '/a//b'),
  ],
)
def test_a_token_leads_nowhere_else(path, where, closed_server):
  status, headers, _ = ask(closed_server, path=f'{path}?token={TOKEN}')
  assert status == 303 and headers['Location'] in where.split('|')


def test_tokens_are_compared_in_constant_time(closed_server, monkeypatch):
  compared = []

  def compare(a, b):
    compared.append((a, b))
    return False

  monkeypatch.setattr(server.hmac, 'compare_digest', compare)
  assert ask(closed_server, path=f'/?token={TOKEN}')[0] == 403
  assert (TOKEN.encode(), TOKEN.encode()) in compared


@pytest.mark.parametrize(
  ('settings', 'said'),
  [
    ({'host': '0.0.0.0'}, 'can be reached from other machines'),
    ({'token': 'short'}, '--token has 5 characters; give 16 to 200'),
    ({'token': 'no spaces or # in it'}, 'letters, digits'),
    ({'host': '203.0.113.1', 'token': TOKEN}, '--host=203.0.113.1'),
    ({'host': 'no.such.invalid', 'token': TOKEN}, '--host=no.such.invalid'),
  ],
)
def test_where_it_may_not_listen(settings, said):
  with pytest.raises(ValueError, match=said):
    server.listen(_echo, port=0, **settings)


def test_a_port_in_use(open_server):
  with pytest.raises(
    ValueError, match=f'port {open_server[1]} of 127.0.0.1 is'
  ):
    server.listen(_echo, port=open_server[1])
