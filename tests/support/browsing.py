"""A server in a thread, and visitors with cookies, without a browser.

with served(page, opened) as (opened, address):
  visitor = Visitor(address)
  visitor.post('/begin'); visitor.get('/'); visitor.ticket()
"""

import contextlib
import http.client
import re
import threading
import urllib.parse

from imagen_jax.pages import server


@contextlib.contextmanager
def served(page, opened):
  """Serves the page until the block ends, then closes `opened`."""
  with server.listen(page, port=0) as listening:
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield opened, listening.server_address
    finally:
      listening.shutdown()
      thread.join()
      opened.close()


class Visitor:
  """Asks for pages and sends forms; keeps cookies, follows nothing."""

  def __init__(self, address, cookies=()):
    self._address = address
    self.cookies = dict(cookies)
    self.said = ''  # the last page

  def get(self, path):
    """The text of a page."""
    status, data = self._ask('GET', path)
    assert status == 200, f'{path}: {status}, {data[:200]}'
    self.said = data.decode()
    return self.said

  def status(self, path):
    return self._ask('GET', path)[0]

  def picture(self, ticket, side, number=0):
    return self._ask('GET', f'/picture/{ticket}/{side}/{number}')[1]

  def post(self, path, **form):
    """Sends a form; the status."""
    status, data = self._ask('POST', path, urllib.parse.urlencode(form))
    self.said = data.decode()
    return status

  def ticket(self):
    """Of what the last page that was got shows."""
    found = re.search(r'name="ticket" value="([\w-]+)"', self.said)
    self._ticket = found[1] if found else self._ticket
    return self._ticket

  def _ask(self, method, path, body=None):
    link = http.client.HTTPConnection(*self._address, timeout=20)
    cookies = '; '.join(f'{k}={v}' for k, v in self.cookies.items())
    headers = {'Cookie': cookies} if cookies else {}
    if body is not None:
      headers['Content-Type'] = 'application/x-www-form-urlencoded'
    link.request(method, path, body, headers)
    answer = link.getresponse()
    data = answer.read()
    if given := answer.getheader('Set-Cookie'):
      name, _, value = given.partition(';')[0].partition('=')
      self.cookies[name] = value
    link.close()
    return answer.status, data
