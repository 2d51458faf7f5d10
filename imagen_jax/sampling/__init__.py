"""Stages bound into a cascade; from prompts to picture files."""
