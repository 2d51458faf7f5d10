"""A report on a training run: what it left in its directories, as one page."""
