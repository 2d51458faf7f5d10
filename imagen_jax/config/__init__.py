"""How settings come in: checked dataclass fields, flags of commands."""
