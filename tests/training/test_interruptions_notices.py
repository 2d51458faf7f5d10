"""A notice of the cloud becomes the signal that a run heeds."""

import http.server
import signal
import threading
import time

import pytest

from imagen_jax.training import interruptions


@pytest.fixture
def server(monkeypatch):
  """A metadata server; what it says can be changed."""
  said = {'maintenance-event': 'NONE', 'preempted': 'FALSE'}

  class Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      name = self.path.removeprefix('/computeMetadata/v1/instance/')
      known = name in said and self.headers['Metadata-Flavor'] == 'Google'
      self.send_response(200 if known else 404)
      self.end_headers()
      self.wfile.write(said.get(name, '').encode())

    def log_message(self, *unused):
      pass

  with http.server.HTTPServer(('localhost', 0), Metadata) as one:
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    address = f'localhost:{one.server_address[1]}'
    monkeypatch.setenv('GCE_METADATA_HOST', address)
    yield said
    one.shutdown()
    thread.join()


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('maintenance-event', 'TERMINATE_ON_HOST_MAINTENANCE'),
    ('preempted', 'TRUE'),
  ],
)
def test_a_notice_stops_the_run(server, capsys, name, value):
  before = signal.getsignal(signal.SIGTERM)
  with (
    interruptions.StopSignal() as stop,
    interruptions.Notices(0.05, wanted=True),
  ):
    time.sleep(0.3)
    assert not stop.after(1)
    server[name] = value
    deadline = time.monotonic() + 20
    while not stop.after(2):
      assert time.monotonic() < deadline
      time.sleep(0.02)
  assert f'{name} is {value}' in capsys.readouterr().err
  assert signal.getsignal(signal.SIGTERM) == before


def test_elsewhere_nobody_asks_and_silence_is_no_notice(monkeypatch):
  monkeypatch.setenv('GCE_METADATA_HOST', 'localhost:1')
  assert interruptions.notice('preempted') is None
  asked = []
  monkeypatch.setattr(interruptions, 'notice', asked.append)
  with interruptions.Notices(0.01):
    time.sleep(0.1)
  assert asked == []
  with interruptions.Notices(0.01, wanted=True):
    time.sleep(0.1)
  assert 'preempted' in asked
