"""Drives an installed Chromium, headless, through its debugging pipe.

  with chromium.Browser() as browser:
    tab = browser.tab(width=1200, height=900)
    tab.go('http://127.0.0.1:8765/')
    tab.press('1'); tab.value('document.title'); tab.screenshot(path)

The DevTools protocol alone, JSON over two pipes: no driver, no port, and no
package to install. A tab has cookies of its own, as another person's browser.
"""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
WAIT = 60.0  # seconds for anything the browser is asked


def installed():
  """Path of the browser, or None."""
  found = (shutil.which(name) for name in NAMES)
  return os.environ.get('CHROMIUM') or next(filter(None, found), None)


# Of each text with what is behind it (WCAG 2.2, relative luminance).
_CONTRAST = """
(() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e));
    found.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return Math.min(...found);
})()
"""


class Browser:
  """A running browser with a profile of its own."""

  def __init__(self):
    self._profile = tempfile.mkdtemp(prefix='imagen_jax_chromium_')
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    flags = [
      '--headless=new',
      '--remote-debugging-pipe',
      f'--user-data-dir={self._profile}',
      '--no-first-run',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--hide-scrollbars',
      *(['--no-sandbox'] if os.geteuid() == 0 else []),
      'about:blank',
    ]
    # The protocol is spoken on the descriptors 3 (in) and 4 (out).
    join = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    self._process = subprocess.Popen(
      ['bash', '-c', join, installed(), *flags],
      pass_fds=(theirs_in, theirs_out),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    self._in, self._out = ours_in, ours_out
    self._number, self._rest = 0, b''
    self.events = []

  def __enter__(self):
    return self

  def __exit__(self, *_):
    with contextlib.suppress(OSError, RuntimeError, TimeoutError):
      self.ask('Browser.close')
    try:
      self._process.wait(10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    os.close(self._in)
    os.close(self._out)
    shutil.rmtree(self._profile, ignore_errors=True)

  def ask(self, method, session=None, **params):
    """Sends a command and returns its result; events on the way are kept."""
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': params}
    if session:
      message['sessionId'] = session
    os.write(self._out, json.dumps(message).encode() + b'\0')
    deadline = time.monotonic() + WAIT
    while True:
      answer = self._read(deadline)
      if answer.get('id') == self._number:
        if 'error' in answer:
          raise RuntimeError(f'{method}: {answer["error"]["message"]}')
        return answer['result']
      if 'method' in answer:
        self.events.append(answer)

  def wait_for(self, method, session):
    """The next event of the name; raises TimeoutError."""
    deadline = time.monotonic() + WAIT
    while True:
      for number, event in enumerate(self.events):
        if event['method'] == method and event.get('sessionId') == session:
          del self.events[number]
          return event['params']
      self.events.append(self._read(deadline))

  def _read(self, deadline):
    while b'\0' not in self._rest:
      left = deadline - time.monotonic()
      if left <= 0 or not select.select([self._in], [], [], left)[0]:
        raise TimeoutError(f'the browser said nothing for {WAIT} s')
      part = os.read(self._in, 1 << 20)
      if not part:
        raise RuntimeError('the browser ended')
      self._rest += part
    line, _, self._rest = self._rest.partition(b'\0')
    return json.loads(line)

  def tab(self, width=1200, height=900, *, dark=False, touch=False, scale=1):
    """A tab with cookies of its own."""
    context = self.ask('Target.createBrowserContext')['browserContextId']
    target = self.ask(
      'Target.createTarget', url='about:blank', browserContextId=context
    )['targetId']
    session = self.ask('Target.attachToTarget', targetId=target, flatten=True)
    tab = Tab(self, session['sessionId'])
    tab.ask('Page.enable')
    tab.ask('Log.enable')
    tab.ask('Runtime.enable')
    tab.look(width, height, dark=dark, touch=touch, scale=scale)
    return tab


class Tab:
  """A page in the browser."""

  def __init__(self, browser, session):
    self._browser, self._session = browser, session

  def ask(self, method, **params):
    return self._browser.ask(method, self._session, **params)

  def look(self, width, height, *, dark=False, touch=False, scale=1):
    """Size in CSS pixels; a dark theme; a phone."""
    self.ask(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=scale,
      mobile=touch,
    )
    self.ask('Emulation.setTouchEmulationEnabled', enabled=touch)
    scheme = 'dark' if dark else 'light'
    self.ask(
      'Emulation.setEmulatedMedia',
      features=[{'name': 'prefers-color-scheme', 'value': scheme}],
    )

  def go(self, url):
    """Opens an address and waits until all of it is loaded."""
    with self.loading():
      self.ask('Page.navigate', url=url)

  @contextlib.contextmanager
  def loading(self):
    """Around what leads to another page: waits until that is loaded."""
    self._browser.events.clear()
    yield
    self._browser.wait_for('Page.loadEventFired', self._session)

  def value(self, expression):
    """What JavaScript makes of it; promises are awaited."""
    result = self.ask(
      'Runtime.evaluate',
      expression=expression,
      awaitPromise=True,
      returnByValue=True,
    )
    if 'exceptionDetails' in result:
      raise RuntimeError(result['exceptionDetails'])
    return result['result'].get('value')

  def press(self, key):
    """A key, such as '1', 'Enter', 'Tab', 'ArrowLeft', as if typed."""
    codes = {'Enter': 13, 'Tab': 9, 'Escape': 27, ' ': 32}
    codes |= {'ArrowLeft': 37, 'ArrowUp': 38, 'ArrowRight': 39, 'ArrowDown': 40}
    text = {'Enter': '\r'}.get(key, key if len(key) == 1 else '')
    common = dict(
      key=key,
      code=f'Digit{key}' if key.isdigit() else key,
      windowsVirtualKeyCode=codes.get(key, ord(key[0])),
    )
    kind = 'keyDown' if text else 'rawKeyDown'
    self.ask('Input.dispatchKeyEvent', type=kind, text=text, **common)
    self.ask('Input.dispatchKeyEvent', type='keyUp', **common)

  def click(self, selector):
    """The middle of an element, with a mouse."""
    x, y = self.value(
      f'(() => {{ const e = document.querySelector({json.dumps(selector)});'
      'e.scrollIntoView({block: "nearest"}); const r = '
      'e.getBoundingClientRect();'
      'return [r.x + r.width / 2, r.y + r.height / 2]; })()'
    )
    for kind in ('mousePressed', 'mouseReleased'):
      self._mouse(kind, x, y)

  def drag(self, selector, *points):
    """With a mouse from point to point, in shares of an element's box."""
    left, top, width, height = self.value(
      f'(() => {{ const e = document.querySelector({json.dumps(selector)});'
      'e.scrollIntoView({block: "center"}); const r = '
      'e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()'
    )
    places = [(left + width * x, top + height * y) for x, y in points]
    events = ['mousePressed', *['mouseMoved'] * (len(places) - 1)]
    for kind, (x, y) in zip((*events, 'mouseReleased'), [*places, places[-1]]):
      self._mouse(kind, x, y, buttons=int(kind != 'mouseReleased'))

  def _mouse(self, kind, x, y, **more):
    self.ask(
      'Input.dispatchMouseEvent',
      type=kind,
      x=x,
      y=y,
      button='left',
      clickCount=1,
      **more,
    )

  def type(self, text):
    """Text as if it were typed, where the focus is."""
    self.ask('Input.insertText', text=text)

  def choose(self, selector, path):
    """A file, in a field for files."""
    root = self.ask('DOM.getDocument')['root']['nodeId']
    node = self.ask('DOM.querySelector', nodeId=root, selector=selector)
    self.ask('DOM.setFileInputFiles', files=[str(path)], **node)

  def until(self, expression):
    """Waits until JavaScript makes something true of it; that."""
    deadline = time.monotonic() + WAIT
    while not (value := self.value(expression)):
      if time.monotonic() > deadline:
        raise TimeoutError(f'{expression} did not come true in {WAIT} s')
      time.sleep(0.02)
    return value

  def contrast(self):
    """The least of any text with what is behind it."""
    return self.value(_CONTRAST)

  def names(self):
    """What a screen reader is told: (role, name) of everything named."""
    nodes = self.ask('Accessibility.getFullAXTree')['nodes']
    return [
      (node['role']['value'], node.get('name', {}).get('value', ''))
      for node in nodes
      if not node.get('ignored')
    ]

  def complaints(self):
    """What the browser's console was told: refused, missing, thrown."""
    found = []
    for event in self._browser.events:
      if event.get('sessionId') == self._session:
        if event['method'] == 'Log.entryAdded':
          found.append(event['params']['entry']['text'])
        elif event['method'] == 'Runtime.exceptionThrown':
          found.append(event['params']['exceptionDetails']['text'])
    return found

  def screenshot(self, path, whole=False):
    """Writes a PNG of what is seen, or of the whole page."""
    shot = self.ask(
      'Page.captureScreenshot', format='png', captureBeyondViewport=whole
    )
    pathlib.Path(path).write_bytes(base64.b64decode(shot['data']))
