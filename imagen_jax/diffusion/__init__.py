"""Diffusion maths: pure functions over arrays, jax and numpy alone.

Everything is float32 and stated in logsnr = log(alpha^2 / sigma^2), with
z = alpha x0 + sigma eps and alpha^2 + sigma^2 = 1. Import the modules
(`from imagen_jax.diffusion import process`); this file exports nothing.
"""
