"""How good the pictures are: scores, their intervals, tables and sheets."""
