"""A stand-in of the Hub's HTTP API, on loopback, for tests.

  with HubStandIn() as hub:
    hub.repos['me/scenes'] = {'cascade.json': b'...'}

Repositories have one branch, main, and one commit at a time; `hub.refuse` maps
a repository to the (status, error code) with which all of it is refused.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

import yaml


class HubStandIn:
  """Serves `repos` {name: {path: bytes}} while the block runs."""

  def __init__(self):
    self.repos, self.refuse, self.requests = {}, {}, []
    stand_in = self

    class Handler(_Handler):
      hub = stand_in

    self._server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)

  @property
  def address(self):
    return f'http://127.0.0.1:{self._server.server_port}'

  def commit(self, repo):
    """The hash of a repository's newest commit."""
    digest = hashlib.sha1()
    for path, content in sorted(self.repos[repo].items()):
      digest.update(path.encode() + b'\0' + content)
    return digest.hexdigest()

  def __enter__(self):
    threading.Thread(target=self._server.serve_forever, daemon=True).start()
    return self

  def __exit__(self, *unused):
    self._server.shutdown()
    self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
  hub = None
  protocol_version = 'HTTP/1.1'

  def log_message(self, *unused):
    pass

  def do_HEAD(self):
    self._route()

  def do_GET(self):
    self._route()

  def do_POST(self):
    self._route()

  def _route(self):
    length = int(self.headers.get('Content-Length') or 0)
    body = self.rfile.read(length)
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    self.hub.requests.append(f'{self.command} {self.path}')
    for pattern, answer in (
      (r'/api/repos/create', self._create),
      (r'/api/validate-yaml', self._validate),
      (r'/api/models/([\w.-]+/[\w.-]+)/preupload/\w+', self._preupload),
      (r'/api/models/([\w.-]+/[\w.-]+)/commit/\w+', self._commit),
      (r'/api/models/([\w.-]+/[\w.-]+)/tree/([\w.-]+)/?(.*)', self._tree),
      (r'/api/models/([\w.-]+/[\w.-]+)/revision/(.+)', self._revision),
      (r'/api/models/([\w.-]+/[\w.-]+)', self._revision),
      (r'/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)', self._file),
    ):
      if match := re.fullmatch(pattern, path):
        answer(body, *match.groups())
        return
    self._error(404, 'EntryNotFound')

  def _known(self, repo, revision='main'):
    """Whether they are there; else the error is sent."""
    if repo in self.hub.refuse:
      self._error(*self.hub.refuse[repo])
    elif repo not in self.hub.repos:
      self._error(404, 'RepoNotFound')
    elif revision not in ('main', self.hub.commit(repo)):
      self._error(404, 'RevisionNotFound')
    else:
      return True
    return False

  def _create(self, body):
    fields = json.loads(body)
    repo = '/'.join(filter(None, [fields.get('organization'), fields['name']]))
    repo = repo if '/' in repo else f'me/{repo}'
    if repo in self.hub.repos:
      self._error(409, 'Conflict', {'url': f'{self.hub.address}/{repo}'})
      return
    self.hub.repos[repo] = {}
    self._json({'url': f'{self.hub.address}/{repo}'})

  def _validate(self, body):
    head = yaml.safe_load(json.loads(body)['content'].split('---\n')[1])
    wrong = [] if isinstance(head['license'], str) else [{'message': 'licence'}]
    self._json({'errors': wrong, 'warnings': []})

  def _preupload(self, body, repo):
    if self._known(repo):
      files = json.loads(body)['files']
      modes = [
        {'path': f['path'], 'uploadMode': 'regular', 'shouldIgnore': False}
        for f in files
      ]
      self._json({'files': modes})

  def _commit(self, body, repo):
    if not self._known(repo):
      return
    files = {}
    for line in body.splitlines():
      entry = json.loads(line)
      if entry['key'] == 'file':
        value = entry['value']
        files[value['path']] = base64.b64decode(value['content'])
    self.hub.repos[repo] = self.hub.repos[repo] | files
    oid = self.hub.commit(repo)
    self._json(
      {'commitUrl': f'{self.hub.address}/{repo}/commit/{oid}', 'commitOid': oid}
    )

  def _revision(self, body, repo, revision='main'):
    if self._known(repo, revision):
      files = [{'rfilename': path} for path in self.hub.repos[repo]]
      about = {'id': repo, 'modelId': repo, 'private': False, 'tags': []}
      self._json(about | {'sha': self.hub.commit(repo), 'siblings': files})

  def _tree(self, body, repo, revision, inside):
    if self._known(repo, revision):
      self._json(
        [
          {
            'type': 'file',
            'path': path,
            'size': len(content),
            'oid': hashlib.sha1(content).hexdigest(),
          }
          for path, content in self.hub.repos[repo].items()
          if path.startswith(inside)
        ]
      )

  def _file(self, body, repo, revision, path):
    if not self._known(repo, revision):
      return
    if path not in self.hub.repos[repo]:
      self._error(404, 'EntryNotFound')
      return
    content = self.hub.repos[repo][path]
    self._send(
      200,
      content,
      {
        'Content-Type': 'application/octet-stream',
        'ETag': f'"{hashlib.sha1(content).hexdigest()}"',
        'X-Repo-Commit': self.hub.commit(repo),
        'Accept-Ranges': 'bytes',
      },
    )

  def _json(self, value):
    self._send(
      200, json.dumps(value).encode(), {'Content-Type': 'application/json'}
    )

  def _error(self, status, code, more=None):
    body = json.dumps({'error': code, **(more or {})}).encode()
    self._send(status, body, {'X-Error-Code': code, 'X-Error-Message': code})

  def _send(self, status, body, headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name, value)
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(body)
