"""Captioned pictures composed from vector sprites, with exact ground truth."""
