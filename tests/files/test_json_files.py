"""The one reader of JSON from outside: bounds, and errors of one line."""

import json

import pytest

from imagen_jax.files import impostors, json_files, remote, tensors, weights

POINTER = (
  b'version https://git-lfs.github.com/spec/v1\n'
  b'oid sha256:' + b'0' * 64 + b'\nsize 19000000\n'
)
DEEP = '[' * 200_000 + ']' * 200_000


@pytest.mark.parametrize(
  'data, message',
  [
    (DEEP, 'x is nested too deep'),
    ('{"a":' * 50_000, 'x is nested too deep'),
    ('[' * 101 + ']' * 101, 'x is nested too deep'),
    ('{"a": [' * 51 + ']}' * 51, 'x is nested too deep'),
    ('{"a": 1', 'x is damaged'),
    (b'\xff\xfe{}', 'x is damaged'),
    ('9' * 5000, 'x is damaged'),
    ('', 'x is empty'),
    (POINTER, 'git lfs pull'),
    (POINTER.decode(), 'git lfs pull'),
    (b'<!DOCTYPE html><html>', 'web page'),
    (b'\n <HTML lang="en">', 'web page'),
  ],
  ids=lambda x: str(x)[:20],
)
def test_refused_in_one_line(data, message):
  with pytest.raises(ValueError, match=message) as caught:
    json_files.parse(data, 'x')
  assert len(str(caught.value).splitlines()) == 1
  assert len(str(caught.value)) < 400


def test_read_as_json_does():
  fields = {'a': [1, 2.5, None, True, 'é'], 'b': {'c': []}}
  text = json.dumps(fields)
  assert json_files.parse(text, 'x') == fields
  assert json_files.parse(b'\xef\xbb\xbf' + text.encode(), 'x') == fields
  deepest = '[' * 100 + ']' * 100
  assert json.dumps(json_files.parse(deepest, 'x')) == deepest
  wide = [[n] for n in range(1000)]
  assert json_files.parse(json.dumps(wide), 'x') == wide


def test_names_that_are_there_twice():
  assert json_files.parse('{"a": 1, "a": 2}', 'x') == {'a': 2}
  with pytest.raises(ValueError, match="x is damaged .'a' is there twice"):
    json_files.parse('[{"a": 1, "a": 2}]', 'x', unique=True)


def test_numbers_that_are_none():
  assert json_files.parse('[Infinity]', 'x') == [float('inf')]
  with pytest.raises(ValueError, match='NaN is no number'):
    json_files.parse('{"a": NaN}', 'x', finite=True)


def test_files(tmp_path):
  path = tmp_path / 'a.json'
  with pytest.raises(ValueError, match='a.json is missing'):
    json_files.read(path)
  with pytest.raises(ValueError, match='^make one$'):
    json_files.read(path, 'make one')
  path.write_text('{"a": 1}')
  folder = remote.folder(tmp_path)
  assert json_files.read(path) == json_files.read_in(folder, 'a.json')
  for read in (
    lambda: json_files.read(path, most=7),
    lambda: json_files.read_in(folder, 'a.json', most=7),
  ):
    with pytest.raises(ValueError, match='a.json .*more than 7'):
      read()
  path.write_text('[]')
  with pytest.raises(ValueError, match='a.json holds no object'):
    json_files.read_in(folder, 'a.json')
  with pytest.raises(ValueError, match='is a directory'):
    json_files.read(tmp_path)


@pytest.mark.parametrize(
  'content, message',
  [
    (POINTER, 'git lfs pull'),
    (b'', 'is empty'),
    (b'<html>', 'web page'),
  ],
)
def test_weights_that_are_something_else(content, message, tmp_path):
  path = tmp_path / 'model.safetensors'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f'model.safetensors .*{message}'):
    weights.load(path)
  with pytest.raises(ValueError, match=f'model.safetensors .*{message}'):
    tensors.safetensors(remote.folder(tmp_path), path.name)


def test_a_header_of_weights_that_is_nested_too_deep(tmp_path):
  header = ('{"x":' + DEEP + '}').encode()
  path = tmp_path / 'model.safetensors'
  path.write_bytes(len(header).to_bytes(8, 'little') + header)
  with pytest.raises(ValueError, match='is damaged.*too deep'):
    tensors.safetensors(remote.folder(tmp_path), path.name)
  with pytest.raises(ValueError, match='is damaged'):
    weights.load(path)


def test_what_is_itself():
  assert impostors.told(b'{"a": 1}') is None
  assert impostors.told((8).to_bytes(8, 'little') + b'{}') is None
