"""People compare the pictures of two models, blind: studies, votes, reports.

questionnaires.py  what is asked, and how often
pictures.py        which picture of A belongs to which of B; what a browser gets
studies.py         the frozen definition: pairs, batches, orders, sides
votes.py           who was shown what, who answered what
archive.py         the SQLite file
preference.py      shares, intervals, agreement
report.py          text and CSV
figure.py          the paper's bars

`pages.rater` is what a rater sees.
"""
