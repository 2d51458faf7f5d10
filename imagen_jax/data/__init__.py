"""Examples and batches; nothing here imports imagen_jax.text."""
