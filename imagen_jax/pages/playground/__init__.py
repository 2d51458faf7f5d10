"""A page to draw on: what is asked for, who draws it, what a browser sees.

Not in the paper. `imagen_jax.serve` puts the parts together:

  orders    a form -> an `Order`, or one line that says what is wrong
  sources   pictures that are sent in, to start from, and masks
  drawing   the queue, and the one thread that draws
  writing   how to draw the same from a shell or in Python
  page      Request -> Response
  markup    the page's HTML
"""
