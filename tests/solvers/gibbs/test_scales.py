"""Moves that scale rows and their prior together: what they leave as it was, and what they draw."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.gibbs.kernels import part_sums
from dotbias.solvers.gibbs.mode import Mode
from dotbias.solvers.gibbs.scales import BIAS, EFFECTS, FACTORS, Parts, slice_draw
from dotbias.solvers.threads import threads
from tests.ratings import random_ratings


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1, 1):
        yield


def test_the_slice_sampler_leaves_a_normal_distribution_as_it_is():
    rng, x, drawn = np.random.default_rng(0), 0.0, []
    for _ in range(20_000):
        # Narrow and far from 0, as scales are that much data tell of.
        x += slice_draw(lambda u, x=x: -(((x + u - 0.3) / 0.2) ** 2) / 2, rng)
        drawn.append(x)
    assert kstest(drawn[::10], norm(0.3, 0.2).cdf).pvalue > 0.01


def test_a_density_without_end_gives_a_step_of_bounded_length():
    assert 0 < abs(slice_draw(lambda u: u, np.random.default_rng(0))) < 3


@pytest.mark.parametrize("move", [EFFECTS, BIAS, FACTORS])
def test_a_scale_is_drawn_around_what_the_errors_ask_for(move):
    """With a flat prior the product of all factors is normal around their least squares."""
    rng = np.random.default_rng(0)
    g = rng.standard_normal((50, 4))
    changed = g @ (np.array([0, 0, 1, 1]) @ move)
    errors = 0.25 * changed + rng.standard_normal(50)
    parts, factor, drawn = Parts(np.vstack([g.T @ g, errors @ g]), 1.0), 1.0, []
    for _ in range(6000):
        factor *= parts.draw_scale(move, lambda u: u, rng)
        drawn.append(factor)
    precision = changed @ changed
    away = (np.array(drawn) - 1 - changed @ errors / precision) * np.sqrt(precision)
    assert kstest(away[::6], norm.cdf).pvalue > 0.001  # of six such numbers


def mode_of(chain, m: int) -> tuple[Mode, Parts]:
    mode = chain.modes[m]
    assert mode.effects is not None
    sums = part_sums(
        mode.starts,
        mode.partners,
        mode.targets,
        mode.table,
        mode.here.start,
        mode.effects.moved,
        chain.weights,
    )
    return mode, Parts(sums.sum(axis=0), chain.noise_precision)


@pytest.mark.parametrize("m", [0, 1])
def test_rows_keep_their_place_in_the_prior_and_the_parts_what_they_sum(m, monkeypatch):
    """In units of the prior neither rows nor effects move, and errors go as they were told to."""
    chain = Gibbs().chain(random_ratings(60, 40, 900, seed=2), n_factors=3, seed=0)
    for _ in range(8):
        chain.sweep()
    kept = []
    monkeypatch.setattr(
        Parts,
        "__init__",
        lambda self, *given, true=Parts.__init__: (true(self, *given), kept.append(self))[0],
    )

    def in_the_prior(mode):
        k = chain.n_columns
        precision = mode.factor @ mode.factor.T
        away = (mode.table[mode.here] - mode.prior_mean)[:, :k].astype(np.float64)
        effects = mode.effects.table[:, :k].astype(np.float64)
        mean = (mode.prior_mean - mode.effects.moved)[:, :k].astype(np.float64)
        return [
            np.einsum("nk,kl,nl->n", away, precision, away),
            mode.effects.decay * np.einsum("nk,kl,nl->n", effects, precision, effects),
            np.einsum("nk,kl,nl->n", mean, precision, mean),
        ]

    mode, _ = mode_of(chain, m)
    before, rows = in_the_prior(mode), mode.table[mode.here].copy()
    kept.clear()
    mode.draw_scales(chain.noise_precision, chain.weights, np.random.default_rng(1))
    (told,) = kept
    for was, now in zip(before, in_the_prior(mode), strict=True):
        np.testing.assert_allclose(now, was, rtol=2e-3, atol=1e-4)
    assert np.abs(mode.table[mode.here] - rows).max() > 0.001
    _, found = mode_of(chain, m)
    size = np.sqrt(np.diag(found.products))
    np.testing.assert_allclose(
        told.products / np.outer(size, size), found.products / np.outer(size, size), atol=1e-3
    )
    np.testing.assert_allclose(told.errors / size, found.errors / size, atol=0.05)
    np.testing.assert_allclose(
        mode.prior_mean[:1] - mode.effects.moved[:1], chain.table[mode.here.stop][None], atol=1e-5
    )
