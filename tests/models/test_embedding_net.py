"""The network of the embeddings: its formula, its start, batch normalisation, the unknown."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Parameters
from dotbias.testing import ModelContract, SolverContract
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch, which networks need, is not installed")


class NetContract(ModelContract):
    folds = ()

    @classmethod
    def trained(cls, parameters: Parameters) -> list[str]:
        ends = ("weight", "bias")
        return [name for name in parameters if name.endswith(ends)]


class TestSigmoidNet(NetContract):
    model = db.EmbeddingNet(n_factors=5)


class TestLinearNet(NetContract):
    model = db.EmbeddingNet(n_factors=(4, 6), hidden=(8, 3), output="linear", batch_norm=True)


class TestGradientDescentOnANet(SolverContract):
    folds = ()
    model = db.EmbeddingNet(n_factors=8, batch_norm=True, dropout=0.1)
    solver = db.GradientDescent(db.Adam(lr=0.02), n_epochs=15, batch_size=32)

    @pytest.mark.parametrize("name", ["one user", "one item", "a constant rating", "a huge scale"])
    def test_tiny_ratings_never_give_nan(self, name):
        # Three ratings make one batch; one rating alone cannot be normalised.
        self.solver = db.GradientDescent(db.Adam(lr=0.02), n_epochs=15, batch_size=None)
        super().test_tiny_ratings_never_give_nan(name)


@pytest.fixture
def ratings() -> Ratings:
    return random_ratings(n_users=12, n_items=9, n=60, seed=3)


def by_hand(model: Any, p: Parameters, users: Any, items: Any) -> Any:
    """The formula of the docstring in NumPy, in evaluation mode."""
    x = np.hstack([p["user_factors.weight"][users], p["item_factors.weight"][items]])
    step = 4 if model.batch_norm else 3
    for n in range(len(model.hidden)):
        x = x @ p[f"hidden.{step * n}.weight"].T + p[f"hidden.{step * n}.bias"]
        if model.batch_norm:
            norm = f"hidden.{step * n + 1}"
            std = np.sqrt(p[f"{norm}.running_var"] + 1e-5)
            x = (x - p[f"{norm}.running_mean"]) / std * p[f"{norm}.weight"] + p[f"{norm}.bias"]
        x = np.maximum(x, 0)
    z = x @ p["output.weight"][0] + p["output.bias"]
    if model.output == "linear":
        return z
    low, high = p["scale"]
    return low - model.margin + (high - low + 2 * model.margin) * expit(z)


@given(
    st.sampled_from(["sigmoid", "linear"]),
    st.booleans(),
    st.sampled_from([1, 3, (2, 5)]),
    st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple),
)
def test_the_prediction_is_the_formula(output, batch_norm, n_factors, hidden):
    ratings = random_ratings(n_users=6, n_items=5, n=20, seed=1)
    model = db.EmbeddingNet(
        n_factors=n_factors, hidden=hidden, batch_norm=batch_norm, output=output, margin=0.25
    )
    rng = np.random.default_rng(0)
    parameters = model.initialise(ratings, rng)
    for name, array in parameters.items():
        if name.endswith(("weight", "bias", "running_mean")):
            array[...] = rng.normal(0, 0.7, array.shape)
        elif name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 2, array.shape)
    users, items = ratings.user_indices, ratings.item_indices
    expected = np.clip(by_hand(model, parameters, users, items), *ratings.scale)
    np.testing.assert_allclose(model.predict(parameters, users, items), expected, atol=1e-5)


def test_it_starts_as_the_docstring_says(ratings):
    model = db.EmbeddingNet(n_factors=200, hidden=(300,))
    p = model.initialise(ratings, np.random.default_rng(0))
    for table in (p["user_factors.weight"], p["item_factors.weight"]):
        assert np.abs(table).max() <= 0.01
        assert table[:-1].std() == pytest.approx(0.02 / np.sqrt(12), rel=0.05)
        np.testing.assert_allclose(table[-1], table[:-1].mean(axis=0), atol=1e-8)
    assert p["hidden.0.weight"].std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert not p["hidden.0.bias"].any()
    flat = {name: np.zeros_like(a) if name == "output.weight" else a for name, a in p.items()}
    start = model.predict(flat, ratings.user_indices, ratings.item_indices)
    np.testing.assert_allclose(start, ratings.global_mean, rtol=1e-5)


def test_the_ends_of_the_scale_can_be_reached_because_of_the_margin(ratings):
    model = db.EmbeddingNet(n_factors=2, margin=0.5)
    p = model.initialise(ratings, np.random.default_rng(0))
    low, high = ratings.scale
    for bias, end in ((20.0, high + 0.5), (-20.0, low - 0.5)):
        p["output.bias"][...] = bias
        np.testing.assert_allclose(model.score_all(p, ratings.user_indices[:1]), end, atol=1e-5)
        np.testing.assert_allclose(
            model.predict(p, ratings.user_indices, ratings.item_indices), np.clip(end, low, high)
        )


def test_the_unknown_are_the_mean_of_the_rows_after_training(ratings):
    model = db.EmbeddingNet(n_factors=4, masked=0.2)
    p, _ = db.GradientDescent(db.Adam(lr=0.02), n_epochs=5, batch_size=16).fit(model, ratings)
    for name in ("user_factors.weight", "item_factors.weight"):
        np.testing.assert_allclose(p[name][-1], p[name][:-1].mean(axis=0), atol=1e-7)
        assert np.abs(p[name][:-1]).max() > 0.02  # it has learnt something
    items = np.arange(ratings.n_items, dtype=np.int32)
    unknown = model.predict(p, np.full_like(items, -1), items)
    replaced = {name: array.copy() for name, array in p.items()}
    replaced["user_factors.weight"][0] = p["user_factors.weight"][:-1].mean(axis=0)
    np.testing.assert_allclose(unknown, model.predict(replaced, np.zeros_like(items), items))


def test_masking_ids_trains_the_network_for_the_unknown():
    ratings, _ = db.simulate(300, 40, 6000, n_factors=2, seed=2)
    train, test = ratings.split(0.3, seed=0)
    nobody = np.full(len(test), -1, np.int32)
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]

    def error_for_the_unknown(masked: float) -> float:
        model = db.EmbeddingNet(n_factors=8, hidden=(10,), masked=masked, dropout=0.0)
        solver = db.GradientDescent(db.Adam(lr=0.01), n_epochs=8, batch_size=64, weight_decay=0.0)
        errors = []
        for seed in range(3):
            p, _ = solver.fit(model, train, seed=seed)
            errors.append(np.mean((model.predict(p, nobody, items) - test.values) ** 2))
        return float(np.mean(errors))

    assert error_for_the_unknown(0.2) < 0.995 * error_for_the_unknown(0.0)


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_leaves_its_share_out_and_keeps_the_mean(p, dtype):
    from dotbias.models import modules
    from dotbias.models.modules import Dropout

    torch.manual_seed(0)
    layer, x = Dropout(p), torch.ones(301, 333, dtype=getattr(torch, dtype))
    assert x.numel() > modules._LARGE
    y = layer(x)
    n, left = x.numel(), (y == 0).double().mean().item()
    assert abs(left - p) < 4 * np.sqrt(p * (1 - p) / n) + 1e-5
    assert y.dtype == x.dtype
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-3, atol=0)
    # No row or column is left out more than another, nor any number because its neighbour is.
    by_column = (y == 0).double().mean(0)
    assert by_column.std() < 1.5 * np.sqrt(p * (1 - p) / 301) + 1e-9
    pairs = (y[:, 1:] == 0) & (y[:, :-1] == 0)
    assert abs(pairs.double().mean().item() - p * p) < 0.01
    assert torch.equal(layer.eval()(x), x)


# -- batch normalisation -------------------------------------------------------------------------


def test_batch_norm_uses_the_batch_in_training_and_running_figures_after(ratings):
    model = db.EmbeddingNet(
        n_factors=4, hidden=(6,), batch_norm=True, dropout=0.0, embedding_dropout=0.0
    )
    module = model.to_torch(model.initialise(ratings, np.random.default_rng(1)))
    u, i = (
        torch.tensor(ids.astype(np.int64)) for ids in (ratings.user_indices, ratings.item_indices)
    )
    with torch.no_grad():  # far from 0, so that the ε of the normalisation does not show
        for table in (module.user_factors, module.item_factors):
            table.weight.mul_(100)
    seen: list[Any] = []
    module.hidden[1].register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    module.train()
    whole, first = module(u, i), module(u[:8], i[:8])
    # In training each batch is normalised by itself: mean 0, variance 1, and so a pair's rating
    # depends on its batch.
    for out in seen:
        torch.testing.assert_close(out.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(out.var(0, unbiased=False), torch.ones(6), atol=1e-3, rtol=0)
    assert not torch.allclose(whole[:8], first, atol=1e-5)
    norm = module.hidden[1]
    assert norm.num_batches_tracked == 2
    module.eval()
    seen.clear()
    whole, first = module(u, i), module(u[:8], i[:8])
    torch.testing.assert_close(whole[:8], first)
    assert norm.num_batches_tracked == 2
    without = db.EmbeddingNet(n_factors=4, hidden=(6,), dropout=0.0, embedding_dropout=0.0)
    plain = without.to_torch(without.initialise(ratings, np.random.default_rng(1)))
    assert not torch.allclose(plain(u, i), whole, atol=1e-4)


def test_batch_norm_changes_what_is_learnt():
    ratings, _ = db.simulate(200, 80, 6000, n_factors=2, seed=1)
    results = []
    for batch_norm in (False, True):
        model = db.EmbeddingNet(n_factors=8, hidden=(10,), batch_norm=batch_norm, dropout=0.0)
        solver = db.GradientDescent(db.SGD(lr=0.1), n_epochs=5, batch_size=64, weight_decay=0.0)
        results.append(solver.fit(model, ratings)[1].epochs[-1].train_rmse)
    # From embeddings of ±0.01 plain SGD hardly moves, unless what they give is normalised.
    assert results[1] < 0.98 * results[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, r"EmbeddingNet\(dropout=1.0\): dropout must be at least 0 and below 1"),
        ({"embedding_dropout": -0.1}, "embedding_dropout must be at least 0 and below 1"),
        ({"masked": 1.0}, "masked must be at least 0 and below 1"),
        ({"n_factors": 0}, "n_factors must be a whole number from 1 to 100000, or two of them"),
        (
            {"n_factors": (3, 4, 5)},
            "n_factors must be a whole number from 1 to 100000, or two of them",
        ),
        ({"n_factors": 2.5}, "n_factors must be a whole number from 1 to 100000, or two of them"),
        ({"hidden": ()}, r"hidden must be one or more whole numbers from 1, such as \(100,\)"),
        ({"hidden": 10}, r"hidden must be one or more whole numbers from 1, such as \(100,\)"),
        ({"output": "softmax"}, "output must be one of 'sigmoid', 'linear'"),
        ({"margin": 0.0}, "margin must be above 0"),
        ({"batch_norm": "yes"}, "batch_norm must be one of False, True"),
    ],
)
def test_illegal_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        db.EmbeddingNet(**settings)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("n_factors", "hidden"), [(3, (4,)), ((3, 2), (5, 1, 4))])
def test_the_shapes_that_a_file_must_have_are_those_of_the_module(
    batch_norm: bool, n_factors: Any, hidden: tuple[int, ...]
) -> None:
    model = db.EmbeddingNet(n_factors=n_factors, hidden=hidden, batch_norm=batch_norm)
    constants = {"scale": np.array([1, 5], np.float32), "global_mean": np.array([3], np.float32)}
    state = model.module(7, 6, constants).state_dict()
    assert model.shapes(7, 6) == {name: tuple(tensor.shape) for name, tensor in state.items()}
