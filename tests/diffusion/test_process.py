"""The process against algebra in float64 and Bayes' rule."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import process

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'samplers'
LOGSNR = np.array([-20.0, -8.0, -0.5, 0.0, 3.0, 20.0])


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def _pictures(dtype=np.float64):
  rng = np.random.default_rng(1)
  x0 = rng.uniform(-1, 1, (6, 4, 5, 3)).astype(dtype)
  eps = rng.standard_normal((6, 4, 5, 3)).astype(dtype)
  return x0, eps


def _noised(x0, eps):
  """alpha, sigma [b, 1, 1, 1], z, v in plain float64 numpy."""
  l = LOGSNR.reshape(-1, 1, 1, 1)
  alpha, sigma = np.sqrt(1 / (1 + np.exp(-l))), np.sqrt(1 / (1 + np.exp(l)))
  return alpha, sigma, alpha * x0 + sigma * eps, alpha * eps - sigma * x0


def test_alpha_sigma():
  alpha, sigma = process.alpha_sigma(jnp.asarray(LOGSNR, jnp.float32))
  np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)
  np.testing.assert_allclose(2 * np.log(alpha / sigma), LOGSNR, atol=1e-5)


def test_add_noise_and_targets(float64):
  x0, eps = _pictures()
  _, _, z, v = _noised(x0, eps)
  np.testing.assert_allclose(process.add_noise(x0, eps, LOGSNR), z, atol=1e-12)
  for kind, expected in [('eps', eps), ('v', v), ('x0', x0)]:
    target = process.target(x0, eps, LOGSNR, kind)
    np.testing.assert_allclose(target, expected, atol=1e-12)
    back = process.to_x0(target, z, LOGSNR, kind)
    np.testing.assert_allclose(back, x0, atol=1e-10)


def test_conversions(float64):
  x0, eps = _pictures()
  _, _, z, v = _noised(x0, eps)
  conversions = [
    (process.x0_from_eps, eps, x0),
    (process.x0_from_v, v, x0),
    (process.eps_from_x0, x0, eps),
    (process.eps_from_v, v, eps),
    (process.v_from_x0, x0, v),
    (process.v_from_eps, eps, v),
  ]
  for convert, given, expected in conversions:
    np.testing.assert_allclose(
      convert(given, z, LOGSNR), expected, atol=1e-10, err_msg=str(convert)
    )


def test_v_is_exact_at_both_ends_in_float32():
  x0, eps = _pictures(np.float32)
  _, _, z, v = _noised(x0, eps)
  z, v, logsnr = np.float32(z), np.float32(v), np.float32(LOGSNR)
  np.testing.assert_allclose(process.x0_from_v(v, z, logsnr), x0, atol=1e-6)
  np.testing.assert_allclose(process.eps_from_v(v, z, logsnr), eps, atol=1e-6)


def test_scalar_and_batched_logsnr_agree():
  x0, eps = _pictures(np.float32)
  one = process.add_noise(x0, eps, -1.5)
  each = process.add_noise(x0, eps, np.full(6, -1.5, np.float32))
  np.testing.assert_array_equal(one, each)


def _bayes(z, x0, lt, ls):
  """q(z_s | z_t, x0) from q(z_s | x0) and q(z_t | z_s), in float64."""
  at2, as2 = 1 / (1 + np.exp(-lt)), 1 / (1 + np.exp(-ls))
  st2, ss2 = 1 / (1 + np.exp(lt)), 1 / (1 + np.exp(ls))
  ats = np.sqrt(at2 / as2)
  forward = st2 - ats**2 * ss2
  precision = 1 / ss2 + ats**2 / forward
  mean = (np.sqrt(as2) * x0 / ss2 + ats * z / forward) / precision
  return mean, 1 / precision, forward


LEVELS = [
  (-20.0, -6.9),
  (-20.0, -19.0),
  (-3.0, -2.9),
  (0.0, 4.0),
  (-8.0, 20.0),
  (12.0, 20.0),
]


def test_posterior_is_bayes_rule():
  x0, z = _pictures(np.float32)
  lt, ls = np.array(LEVELS, np.float64).T
  got = process.posterior(z, x0, np.float32(lt), np.float32(ls))
  lt, ls = lt.reshape(-1, 1, 1, 1), ls.reshape(-1, 1, 1, 1)
  expected = _bayes(np.float64(z), np.float64(x0), lt, ls)
  np.testing.assert_allclose(got[0], expected[0], atol=2e-6)
  np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)
  np.testing.assert_allclose(got[2], expected[2], rtol=1e-5)


def test_posterior_keeps_the_marginal(float64):
  """Drawing z_t then z_s must give z_s ~ N(alpha_s x0, sigma_s^2)."""
  one = np.ones((1, 1, 1, 1))
  for lt, ls in LEVELS:
    (at, st), (a_s, s_s) = process.alpha_sigma(lt), process.alpha_sigma(ls)
    from_z, lower, _ = process.posterior(one, 0 * one, lt, ls)
    from_x0, _, _ = process.posterior(0 * one, one, lt, ls)
    np.testing.assert_allclose(from_z * at + from_x0, a_s, rtol=1e-10)
    variance = (from_z * st) ** 2 + lower
    np.testing.assert_allclose(variance, s_s**2, rtol=1e-7)


def test_posterior_of_no_step_is_the_identity():
  x0, z = _pictures(np.float32)
  mean, lower, upper = process.posterior(z, x0, LOGSNR, LOGSNR)
  np.testing.assert_array_equal(mean, z)
  assert np.all(lower == 0) and np.all(upper == 0)


@pytest.mark.parametrize('prediction', ['epsilon', 'sample', 'v_prediction'])
def test_posterior_oracle(prediction):
  toy = json.loads((DATA / 'config.json').read_text())['toy_model'][prediction]
  kind = {'epsilon': 'eps', 'sample': 'x0', 'v_prediction': 'v'}[prediction]
  with np.load(DATA / 'trajectories.npz') as data:
    x, steps = data['x_init'], data['ddpm_posterior/t']
    alpha_bar = data['alphas_cumprod'].astype(np.float64)
    mean = data[f'ddpm_posterior/{prediction}/none/mean']
    expected_x0 = data[f'ddpm_posterior/{prediction}/none/x0']
    small = data['ddpm_posterior/variance_fixed_small']
    large = data['ddpm_posterior/variance_fixed_large']
  logsnr = np.log(alpha_bar / (1 - alpha_bar))
  for i, t in enumerate(steps):
    f = toy['a'] * x + toy['b'] * np.sin(toy['c'] * t / 1000 + toy['d'])
    x0 = process.to_x0(np.float32(f), x, np.float32(logsnr[t]), kind)
    # Relative to the size of the picture: eps at t = 999 gives x0 near 1e4.
    tolerance = 1e-4 * max(1, np.abs(expected_x0[i]).max())
    np.testing.assert_allclose(x0, expected_x0[i], atol=tolerance)
    if t == 0:
      continue  # the step to clean returns x0; no logsnr
    got = process.posterior(
      x, expected_x0[i], np.float32(logsnr[t]), np.float32(logsnr[t - 1])
    )
    tolerance = 1e-4 * max(1, np.abs(mean[i]).max())
    np.testing.assert_allclose(got[0], mean[i], atol=tolerance)
    np.testing.assert_allclose(got[1], small[i], rtol=1e-3)
    np.testing.assert_allclose(got[2], large[i], rtol=1e-3)


@pytest.mark.parametrize('kind', process.KINDS)
def test_losses_do_not_depend_on_what_is_predicted(float64, kind):
  x0, eps = _pictures()
  alpha, sigma, z, v = _noised(x0, eps)
  wrong_x0 = x0 + np.random.default_rng(2).standard_normal(x0.shape)
  wrong_eps = (z - alpha * wrong_x0) / sigma
  wrong_v = alpha * wrong_eps - sigma * wrong_x0
  said = {'eps': wrong_eps, 'v': wrong_v, 'x0': wrong_x0}[kind]
  axes = (1, 2, 3)
  np.testing.assert_allclose(
    process.eps_loss(said, x0, eps, LOGSNR, kind),
    np.mean((wrong_eps - eps) ** 2, axis=axes),
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    process.v_loss(said, x0, eps, LOGSNR, kind),
    np.mean((wrong_v - v) ** 2, axis=axes),
    rtol=1e-6,
  )


@pytest.mark.parametrize('kind', process.KINDS)
def test_squared_error_is_zero_for_the_target_and_per_example(kind):
  x0, eps = _pictures(np.float32)
  logsnr = LOGSNR.astype(np.float32)
  said = np.array(process.target(x0, eps, logsnr, kind))
  said[2] += 0.5
  error = process.squared_error(said, x0, eps, logsnr, kind)
  np.testing.assert_allclose(error, [0, 0, 0.25, 0, 0, 0], atol=1e-6)


def test_unknown_kind_is_named():
  with pytest.raises(ValueError, match="'epsilon' is not one of"):
    process.to_x0(0.0, 0.0, 0.0, 'epsilon')
