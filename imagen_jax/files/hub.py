"""Directories on the Hugging Face Hub: hf://user/name[/inside][@revision].

  local('hf://user/name@v1')   its path in the Hub's cache, where it is fetched
  publish(repo, files)         all files at once, as one commit

huggingface_hub (the extra `hub`) is imported for these addresses alone. Tokens,
cache, mirrors and offline mode are its own: `hf auth login`, HF_HOME,
HF_ENDPOINT, HF_HUB_OFFLINE=1. Only the endings of FILES are downloaded, none of
which is run.
"""

import contextlib
import os
import pathlib
import re
import sys
from collections.abc import Mapping

SCHEME = 'hf://'
FILES = ('*.json', '*.safetensors', '*.model', '*.md', '*.png', '*.txt')
_NAME = r'[\w][\w.-]*'
_ADDRESS = re.compile(
  rf'hf://(?P<repo>{_NAME}/{_NAME})(?P<inside>(/{_NAME})*)(@(?P<revision>.+))?'
)
_REPO = re.compile(rf'{_NAME}/{_NAME}')


def is_address(path) -> bool:
  """Whether it is one of the Hub's."""
  return str(path).startswith(SCHEME)


def local(path) -> pathlib.Path:
  """Where a directory lies on this machine; others than the Hub's as given.

  Raises ValueError with one line and the remedy.
  """
  if not is_address(path):
    return pathlib.Path(path)
  match = _ADDRESS.fullmatch(str(path))
  if match is None:
    raise ValueError(
      f'{path} is no address of the Hub; write hf://user/name, or '
      'hf://user/name@revision'
    )
  root = _fetched(str(path), match['repo'], match['revision'], match['inside'])
  return pathlib.Path(root) / match['inside'].lstrip('/')


def check_repo(repo: str) -> None:
  """Raises ValueError where it is no name of a repository."""
  if not _REPO.fullmatch(repo):
    raise ValueError(f'{repo!r} is no repository; write user/name')


def publish(
  repo: str, files: Mapping[str, pathlib.Path | bytes], *, private=False
) -> str:
  """Writes files to a repository, which is made if need be: its address.

  Args:
    repo: 'user/name'.
    files: path in the repository -> the file, or its content.
    private: of a repository that is made.
  """
  check_repo(repo)
  library, api = _library(f'hf://{repo}')
  operations = [
    library.CommitOperationAdd(name, x if isinstance(x, bytes) else str(x))
    for name, x in sorted(files.items())
  ]
  try:
    api.create_repo(repo, private=private, exist_ok=True)
    api.create_commit(
      repo, operations, commit_message='Publish by imagen_jax.publish'
    )
  except Exception as e:
    raise ValueError(_told(library, e, f'hf://{repo}', None)) from e
  return f'{api.endpoint}/{repo}'


def _fetched(address, repo, revision, inside):
  """The directory of a snapshot, all of whose files are there."""
  library, api = _library(address)
  patterns = [f'{inside.lstrip("/")}/{f}' if inside else f for f in FILES]
  if not inside:
    patterns += [f'*/{f}' for f in FILES]
  # The library shows a bar below the other.
  bars = getattr(sys.stderr, 'for_bars', sys.stderr)
  try:
    with contextlib.redirect_stderr(bars):
      return api.snapshot_download(
        repo, revision=revision, allow_patterns=patterns
      )
  except Exception as e:
    raise ValueError(_told(library, e, address, revision)) from e


def _library(address):
  """(huggingface_hub, its interface to the Hub that is meant)."""
  try:
    import huggingface_hub
  except ImportError as e:
    raise ValueError(
      f'{address} needs the library of the Hub: pip install huggingface_hub, '
      "or this package with its extra: pip install 'imagen-jax[hub]'"
    ) from e
  endpoint = os.environ.get('HF_ENDPOINT')
  return huggingface_hub, huggingface_hub.HfApi(endpoint=endpoint)


def _told(library, error, address, revision):
  """One line on what the library raises; its own are long and many."""
  errors = library.errors
  reason = ' '.join(str(error).split())[:200]
  if isinstance(error, errors.GatedRepoError):
    return (
      f'{address} is gated: accept its licence on its page, log in by: hf auth '
      'login, and try again'
    )
  if isinstance(error, errors.RevisionNotFoundError):
    return (
      f'{address}: there is no revision {revision!r}; give a branch, a tag or '
      'the hash of a commit'
    )
  if isinstance(error, errors.RepositoryNotFoundError):
    return (
      f'{address}: there is no such repository, or it is private; see its '
      'name, or log in by: hf auth login'
    )
  if isinstance(error, errors.HfHubHTTPError):
    return f'{address}: the Hub refuses ({reason}); log in by: hf auth login'
  if isinstance(error, errors.HFValidationError):
    return f'{address} is no address of the Hub; write hf://user/name'
  return (
    f'{address} is not in the cache, and the Hub cannot be reached ({reason}); '
    'see the network, HF_HUB_OFFLINE and HF_ENDPOINT'
  )
