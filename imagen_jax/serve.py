"""A page in the browser to draw on, served from this machine.

  python -m imagen_jax.serve

Prints the address of the page. It needs nothing from elsewhere and sends
nothing anywhere; nobody but this machine reaches it, unless --host and --token
say so. One picture is drawn at a time, others wait.
"""

import os
import secrets
import signal

from imagen_jax.config import command, flags
from imagen_jax.pages import server
from imagen_jax.pages.playground import drawing, folder, page
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade as cascade_lib

_PATIENCE = 10  # seconds for a step that runs when the server is stopped


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.serve',
    description='A page in the browser to draw on. Nothing of it comes from '
    'elsewhere, and nothing is sent anywhere.',
    allow_abbrev=False,
  )
  add = p.add_argument
  flags.add_cascade(p)
  add(
    '--out',
    metavar='DIR',
    help='directory where finished pictures are kept, made if need be; those '
    'that are there come back (default: in memory alone)',
  )
  add(
    '--queue',
    type=flags.whole('pictures', 1, 1000),
    default=drawing.WAITING,
    metavar='N',
    help='pictures that may wait; more are refused (default: '
    f'{drawing.WAITING})',
  )
  add(
    '--history',
    type=flags.whole('pictures', 1, 10_000),
    default=drawing.KEPT,
    metavar='N',
    help='pictures that stay on the page, in memory; the oldest leave it '
    f'(default: {drawing.KEPT})',
  )
  flags.add_server(p, port=7860)
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    return serve(args)
  except (ValueError, MemoryError) as e:
    return flags.failed(e)
  except KeyboardInterrupt:  # before there was anything to end
    return 130


def serve(args):
  """Serves the page until it is stopped; the exit code."""
  kept = folder.Folder(args.out) if args.out else None
  token = secrets.token_urlsafe(24) if args.token == 'new' else args.token
  answer = _Later()
  # The port first: reading the weights takes longer than to say it is taken.
  with server.listen(
    answer, host=args.host, port=args.port, token=token, files=page.FILES
  ) as listening:
    compilation.enable_cache()
    cascade = cascade_lib.load_cascade(args.cascade)
    studio = drawing.Studio(
      cascade,
      history=kept.read(cascade, args.history) if kept else (),
      waiting=args.queue,
      kept=args.history,
      store=kept and kept.store,
    )
    answer.page = page.StudioPage(studio, args.cascade, args.out)
    with studio:
      # Before the address: whoever reads it may stop the server at once.
      signal.signal(signal.SIGTERM, signal.default_int_handler)
      try:
        print('Draw on this page; Ctrl+C stops:')
        print(listening.url, flush=True)
        listening.serve_forever()
      except KeyboardInterrupt:
        pass
      return _end(studio, args.out)


class _Later:
  """A page that is there when the server begins to listen to requests."""

  page = None

  def __call__(self, request):
    return self.page(request)


def _end(studio, out):
  """Stops what is drawn, says what is left; the exit code."""
  try:
    ended = studio.close(_PATIENCE)
  except KeyboardInterrupt:  # once more
    ended = False
  done = studio.finished()
  where = f'kept in {out}' if out else 'gone with the memory'
  print(f'stopped; the {done} pictures of the history are {where}', flush=True)
  if not ended:
    # A compilation cannot be interrupted, and nothing waits for it.
    os._exit(0)
  return 0


if __name__ == '__main__':
  command.run(main)
