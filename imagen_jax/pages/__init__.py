"""Pages of this package in a browser: a server, and how they look.

Standard library only. Nothing of a page comes from elsewhere: no fonts, no
scripts, no counters; all works offline.
"""
