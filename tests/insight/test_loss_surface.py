"""The loss as a function of all parameters: derivatives against differences and plain matrices."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

import dotbias as db
from dotbias.errors import SettingError
from dotbias.insight import loss_surface as module_under_test
from dotbias.insight.divergence import divergence_rate
from dotbias.insight.loss_surface import LossSurface
from dotbias.insight.spectrum import eigenpairs
from tests.ratings import random_ratings

N_USERS, N_ITEMS, K = 9, 7, 2


class Hidden(nn.Module):
    """A module of one's own: embeddings, a hidden layer, an output."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(n_users, K), nn.Embedding(n_items, K)
        self.hidden, self.output = nn.Linear(2 * K, 3), nn.Linear(3, 1)

    def forward(self, user, item):
        joined = torch.cat([self.user(user), self.item(item)], dim=1)
        return 3 + self.output(torch.tanh(self.hidden(joined)))[:, 0]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ratings():
    return random_ratings(N_USERS, N_ITEMS, 40, seed=3)


def dot_bias(output, ratings):
    model = db.DotBias(n_factors=K, output=output)
    parameters = model.initialise(ratings, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for name in model.groups:
        shape = parameters[name].shape
        parameters[name] = rng.normal(0, 0.6, shape).astype(np.float32)
    return model, parameters


def module_of(kind, ratings):
    if kind == "hidden":
        torch.manual_seed(5)
        return Hidden(N_USERS, N_ITEMS)
    model, parameters = dot_bias(kind, ratings)
    return model.to_torch(parameters)


def some(kind, ratings):
    """A surface with units and decay that differ from parameter to parameter."""
    module = module_of(kind, ratings)
    names = [name for name, _ in module.named_parameters()]
    units = {name: 0.5 + 0.25 * n for n, name in enumerate(names)}
    first = dict(module.named_parameters())[names[0]]
    rows = np.linspace(0, 0.02, len(first)).reshape(-1, *[1] * (first.ndim - 1))
    decay = {names[0]: rows} | dict.fromkeys(names[1:], 0.01)
    return LossSurface(module, ratings, std=1.3, decay=decay, units=units)


KINDS = ("linear", "sigmoid", "hidden")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def surfaces(ratings):
    return {kind: some(kind, ratings) for kind in KINDS}


def slope(function, w, step=1e-5):
    """Central differences of a function of a row, one column for each number of it."""
    columns = []
    for n in range(len(w)):
        h = np.zeros_like(w)
        h[n] = step
        columns.append((np.asarray(function(w + h)) - function(w - h)) / (2 * step))
    return np.array(columns).T


def plain_predictions(kind, surface, w, users, items):
    """The predictions by the formulas of the models, in NumPy."""
    p = {name: part * surface._units[name] for name, part in surface.by_name(w).items()}
    if kind == "hidden":
        x = np.hstack([p["user.weight"][users], p["item.weight"][items]])
        h = np.tanh(x @ p["hidden.weight"].T + p["hidden.bias"])
        return 3 + (h @ p["output.weight"].T + p["output.bias"])[:, 0]
    dot = (p["user_factors"][users] * p["item_factors"][items]).sum(1)
    z = dot + p["user_bias"][users] + p["item_bias"][items]
    mean = float(np.float32(surface.ratings.global_mean))
    if kind == "linear":
        return mean + z
    low, width = 0.5, 5.0
    share = (mean - low) / width
    return low + width / (1 + np.exp(-z - np.log(share / (1 - share))))


def plain_loss(kind, surface, w):
    r = surface.ratings
    error = (plain_predictions(kind, surface, w, r.user_indices, r.item_indices) - r.values) / 1.3
    return 0.5 * np.mean(error**2) + 0.5 * (surface.decay * w**2).sum()


# The loss and its derivatives.


@every_kind
def test_the_loss_is_that_of_the_formula(kind, surfaces):
    surface = surfaces[kind]
    assert surface.loss() == pytest.approx(plain_loss(kind, surface, surface.w), rel=1e-12)


@every_kind
def test_the_gradient_equals_finite_differences(kind, surfaces):
    surface = surfaces[kind]
    wanted = slope(lambda w: plain_loss(kind, surface, w), surface.w)
    assert np.allclose(surface.gradient(), wanted, rtol=0, atol=1e-9)
    assert np.abs(wanted).max() > 0.01


@every_kind
def test_the_jacobian_equals_finite_differences(kind, surfaces):
    surface = surfaces[kind]
    users, items = np.array([0, 3, 8, 0]), np.array([6, 2, 2, 6])
    wanted = slope(lambda w: plain_predictions(kind, surface, w, users, items), surface.w)
    found = surface.jacobian(users, items)
    assert found.shape == (4, surface.n_parameters)
    assert np.allclose(found, wanted, rtol=0, atol=1e-8)


@every_kind
def test_the_hessian_equals_finite_differences_of_the_gradient(kind, surfaces):
    surface = surfaces[kind]
    wanted = slope(surface.gradient, surface.w)
    found = surface.hessian()
    assert np.allclose(found, wanted, rtol=0, atol=1e-8)
    assert np.allclose(found, found.T, rtol=0, atol=1e-14)


@every_kind
def test_gauss_newton_is_the_jacobian_squared(kind, surfaces):
    surface = surfaces[kind]
    jacobian = surface.jacobian(surface.ratings.user_indices, surface.ratings.item_indices)
    wanted = jacobian.T @ jacobian / (40 * 1.3**2) + np.diag(surface.decay)
    assert np.allclose(surface.gauss_newton(), wanted, rtol=0, atol=1e-14)
    # What it leaves out is there.
    assert np.abs(surface.hessian() - wanted).max() > 1e-3


@every_kind
def test_products_with_vectors_are_those_of_the_matrices(kind, surfaces):
    surface = surfaces[kind]
    rng = np.random.default_rng(4)
    v, c = rng.standard_normal(surface.n_parameters), rng.standard_normal(3)
    users, items = [1, 2, 8], [0, 6, 3]
    jacobian = surface.jacobian(users, items)
    assert np.allclose(surface.hvp(v), surface.hessian() @ v, rtol=0, atol=1e-13)
    assert np.allclose(surface.gnvp(v), surface.gauss_newton() @ v, rtol=0, atol=1e-13)
    assert np.allclose(surface.jvp(v, users, items), jacobian @ v, rtol=0, atol=1e-13)
    assert np.allclose(surface.vjp(c, users, items), jacobian.T @ c, rtol=0, atol=1e-13)


def test_with_perfect_predictions_gauss_newton_is_the_hessian(ratings):
    module = module_of("sigmoid", ratings)
    with torch.no_grad():
        users, items = (
            torch.tensor(a).long() for a in (ratings.user_indices, ratings.item_indices)
        )
        perfect = module.double()(users, items).numpy()
    surface = LossSurface(module, ratings)
    surface._values = torch.tensor(perfect)
    assert np.allclose(surface.hessian(), surface.gauss_newton(), rtol=0, atol=1e-14)


@every_kind
def test_chunks_change_nothing_but_rounding(kind, ratings, monkeypatch, surfaces):
    v = np.random.default_rng(1).standard_normal(surfaces[kind].n_parameters)
    c = np.ones(40)
    pairs = ratings.user_indices, ratings.item_indices
    calls = (
        lambda s: len(list(s._chunks())),
        lambda s: s.loss(),
        lambda s: s.gradient(),
        lambda s: s.hvp(v),
        lambda s: s.gnvp(v),
        lambda s: s.jvp(v, *pairs),
        lambda s: s.vjp(c, *pairs),
        lambda s: s.jacobian(*pairs),
        lambda s: s.hessian(),
        lambda s: s.gauss_newton(),
    )
    n_chunks, *whole = [call(surfaces[kind]) for call in calls]
    for name in ("_SMALL_CHUNK", "_LARGE_CHUNK", "_CHUNK_OF_MATRIX"):
        monkeypatch.setattr(module_under_test, name, 20)
    now, *parts = [call(some(kind, ratings)) for call in calls]
    assert n_chunks == 1 < 3 < now
    for one, many in zip(whole, parts, strict=True):
        assert np.allclose(one, many, rtol=1e-12, atol=1e-14)


def test_norms_of_the_gradient_by_parameter_and_by_group(surfaces):
    surface = surfaces["linear"]
    gradient = surface.gradient()
    norms = surface.gradient_norms()
    assert list(norms) == ["user_factors", "item_factors", "user_bias", "item_bias"]
    assert norms["user_factors"] == pytest.approx(np.linalg.norm(gradient[: N_USERS * K]))
    kinds = {name: name.split("_")[1] for name in norms}
    by_kind = surface.gradient_norms(kinds)
    assert set(by_kind) == {"factors", "bias"}
    assert np.hypot(*by_kind.values()) == pytest.approx(np.linalg.norm(gradient))


def test_a_step_in_units_moves_the_parameter_by_its_unit(ratings):
    """The curvature in units is ``D H D``: what a rate that acts on units must be compared with."""
    module = module_of("linear", ratings)
    units = {"user_factors": 2.0, "item_factors": 0.5, "user_bias": 3.0, "item_bias": 1.0}
    plain, scaled = LossSurface(module, ratings), LossSurface(module, ratings, units=units)
    d = np.concatenate([np.full(part.size, units[n]) for n, part in plain.by_name(plain.w).items()])
    assert np.allclose(scaled.w * d, plain.w)
    assert np.allclose(scaled.hessian(), d[:, None] * plain.hessian() * d, atol=1e-14)


def test_held_parameters_are_no_part_of_it(ratings):
    module = module_of("linear", ratings)
    module.user_factors.requires_grad_(False)
    surface = LossSurface(module, ratings)
    assert list(surface.shapes) == ["item_factors", "user_bias", "item_bias"]
    assert surface.loss() == LossSurface(module_of("linear", ratings), ratings).loss()


def test_the_module_stays_as_it_was(ratings):
    module = Hidden(N_USERS, N_ITEMS).train()
    module.user.sparse = True
    surface = LossSurface(module, ratings)
    surface.hvp(np.ones(surface.n_parameters))
    assert module.training
    assert module.user.sparse
    assert module.output.bias.dtype == torch.float32


# Eigenvalues.


@every_kind
@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_eigenvalues_at_both_ends_are_the_dense_ones(kind, matrix, surfaces):
    surface = surfaces[kind]
    if matrix == "hessian":
        product, full = surface.hvp, surface.hessian()
    else:
        product, full = surface.gnvp, surface.gauss_newton()
    dense = np.linalg.eigvalsh(full)
    for which, wanted in (("largest", dense[::-1][:4]), ("smallest", dense[:4])):
        found, _ = eigenpairs(product, surface.n_parameters, 4, which, tolerance=1e-9)
        assert found == pytest.approx(wanted, abs=1e-9)


def test_a_saddle_has_a_negative_eigenvalue(ratings):
    """With all embeddings at zero, the loss falls wherever both sides leave it together."""
    model, parameters = dot_bias("linear", ratings)
    for name in model.groups:
        parameters[name] = np.zeros_like(parameters[name])
    surface = LossSurface(model.to_torch(parameters), ratings)
    assert eigenpairs(surface.hvp, surface.n_parameters, 1, "smallest")[0] < -0.01


# Where descent diverges.


@pytest.fixture(scope="module", params=["linear", "sigmoid"])
def at_minimum(request):
    """A surface near a minimum of a loss with weight decay."""
    ratings, _ = db.simulate(n_users=30, n_items=20, n_ratings=400, n_factors=2, seed=1)
    model, parameters = dot_bias(request.param, ratings)
    decay = dict.fromkeys(model.groups, 0.02 / 20)
    surface = LossSurface(model.to_torch(parameters), ratings, decay=decay)
    done = minimize(
        surface.loss,
        surface.w,
        jac=surface.gradient,
        method="L-BFGS-B",
        options={"maxiter": 600, "ftol": 1e-13, "gtol": 1e-7},
    )
    surface.w = done.x
    return surface


def test_descent_near_a_minimum_diverges_at_2_over_the_largest_eigenvalue(at_minimum):
    stable = 2 / np.linalg.eigvalsh(at_minimum.hessian())[-1]
    assert np.linalg.norm(at_minimum.gradient()) < 1e-4
    found = divergence_rate(at_minimum.descend, stable, n_steps=400)
    assert 0.95 * stable < found < 1.1 * stable


def test_descent_is_plain_gradient_descent(surfaces):
    surface = surfaces["sigmoid"]
    losses = list(itertools.islice(surface.descend(0.3), 4))
    w = surface.w
    for loss in losses:
        assert loss == pytest.approx(surface.loss(w), rel=1e-12)
        w = w - 0.3 * surface.gradient(w)


def test_the_plane_goes_through_here(surfaces):
    surface = surfaces["linear"]
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, surface.n_parameters))
    x, y, heights = surface.plane((first, second), (2.0, 0.5), n=5)
    assert x.tolist() == [-2, -1, 0, 1, 2]
    assert y.tolist() == [-0.5, -0.25, 0, 0.25, 0.5]
    assert heights[2, 2] == pytest.approx(surface.loss())
    assert heights[4, 1] == pytest.approx(surface.loss(surface.w - first + 0.5 * second))


# Mistakes.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.hvp(np.ones(3)), r"a vector of all parameters has the shape \(48,\), not"),
        (lambda s: s.loss(np.ones((48, 1))), r"has the shape \(48,\), not \(48, 1\)"),
        (lambda s: s.vjp([1.0], [0, 1], [0, 1]), "one number for each of the 2 pairs"),
        (lambda s: s.jacobian([0, 1], [0]), "two rows of the same length"),
    ],
)
def test_a_mistake_is_named(call, message, surfaces):
    with pytest.raises(SettingError, match=message):
        call(surfaces["linear"])


def test_matrices_too_large_name_the_products(surfaces, monkeypatch):
    monkeypatch.setattr(module_under_test, "LARGEST_MATRIX", 40)
    monkeypatch.setattr(module_under_test, "_LARGEST_JACOBIAN", 90)
    surface = surfaces["linear"]
    with pytest.raises(SettingError, match=r"Hessian of 48 parameters.*the limit is 40.*hvp"):
        surface.hessian()
    with pytest.raises(SettingError, match=r"Gauss-Newton matrix of 48 parameters.*gnvp"):
        surface.gauss_newton()
    with pytest.raises(SettingError, match=r"Jacobian of 2 ratings and 48 parameters.*jvp and vjp"):
        surface.jacobian([0, 1], [0, 1])
    assert surface.jacobian([0], [0]).shape == (1, 48)


@pytest.mark.parametrize("what", ["decay", "units"])
def test_names_must_be_those_of_parameters(what, ratings):
    with pytest.raises(SettingError, match=f"{what} names no parameter 'users': the parameters"):
        LossSurface(module_of("linear", ratings), ratings, **{what: {"users": 1.0}})


def test_a_module_must_give_one_rating_for_each_pair(ratings):
    class Wrong(Hidden):
        def forward(self, user, item):
            return super().forward(user, item)[:, None]

    with pytest.raises(SettingError, match=r"forward\(user, item\) of Wrong must give a tensor"):
        LossSurface(Wrong(N_USERS, N_ITEMS), ratings)


def test_there_must_be_something_to_differentiate(ratings):
    module = module_of("linear", ratings).requires_grad_(False)
    with pytest.raises(SettingError, match="has no parameters that need a gradient"):
        LossSurface(module, ratings)
