"""Captions to text embeddings: tokenizers, encoders and their checkpoints."""
