"""``DotBias`` in PyTorch against its own formula in NumPy, there and back; and fast.ai's model."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import DataError, SettingError
from dotbias.models import DotBias
from dotbias.models.base import Parameters
from dotbias.models.parameters import SAMPLES
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch, an extra, is not installed")

OUTPUTS = ("linear", "sigmoid")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=12, n_items=9, n=63, seed=3)


def made(
    output: str, n_users: int = 12, n_items: int = 9, k: int = 3, seed: int = 0, margin: float = 0.3
) -> tuple[DotBias, Parameters]:
    """A model with parameters of moderate size."""
    rng = np.random.default_rng(seed)
    shapes = {
        "user_factors": (n_users, k),
        "item_factors": (n_items, k),
        "user_bias": (n_users,),
        "item_bias": (n_items,),
    }
    tables = {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}
    fixed = {"global_mean": [rng.uniform(1.5, 4.5)], "scale": [1, 5]}
    parameters = tables | {name: np.array(a, np.float32) for name, a in fixed.items()}
    return DotBias(n_factors=k, output=output, margin=margin), parameters


def pairs(n_users: int, n_items: int) -> tuple[Any, Any]:
    """Every pair, the unknown user and item -1 included."""
    u, i = (a.ravel() - 1 for a in np.indices((n_users + 1, n_items + 1)))
    return u, i


def rated(module: Any, u: Any, i: Any) -> Any:
    with torch.no_grad():
        return module(torch.tensor(u), torch.tensor(i)).numpy()


def by_formula(model: DotBias, parameters: Parameters, u: Any, i: Any) -> Any:
    """Ratings before clipping, in double precision, with a row of zeros at the end for index -1."""
    p, q, b_u, b_i = (
        np.concatenate([t, np.zeros_like(t[:1])]).astype(np.float64)
        for t in (parameters[name] for name in DotBias.groups)
    )
    z = b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1)
    mean = float(parameters["global_mean"][0])
    if model.output == "linear":
        return mean + z
    low, high = 1 - model.margin, 5 + model.margin
    odds = (mean - low) / (high - mean) * np.exp(z)
    return low + (high - low) * odds / (1 + odds)


# There.


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(1, 5),
    st.sampled_from(OUTPUTS),
    st.floats(0.01, 3),
    st.integers(0, 99),
)
def test_the_module_rates_by_the_formula(n_users, n_items, k, output, margin, seed):
    model, parameters = made(output, n_users, n_items, k, seed, margin)
    u, i = pairs(n_users, n_items)
    module = model.to_torch(parameters)
    rates = rated(module, u, i)
    assert rates.dtype == np.float32
    assert rates.shape == u.shape
    np.testing.assert_allclose(rates, by_formula(model, parameters, u, i), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        rated(module.double(), u, i), by_formula(model, parameters, u, i), rtol=0, atol=1e-12
    )


GIBBS = db.Gibbs(n_samples=8, burn_in=4, keep_samples=4)
DESCENT = db.GradientDescent(n_epochs=5)


@pytest.mark.parametrize(
    ("output", "solver"),
    [
        ("linear", DESCENT),
        ("sigmoid", DESCENT),
        ("linear", db.ALS(n_iterations=3)),
        ("linear", GIBBS),
    ],
)
def test_after_a_fit_the_module_predicts_what_the_model_does(ratings, output, solver):
    """Before clipping, which ``score_all`` shows, and, once it is clipped, after."""
    rec = db.fit(ratings, DotBias(n_factors=4, output=output), solver, seed=1)
    u, i = pairs(ratings.n_users, ratings.n_items)
    rates = rated(rec.model.to_torch(rec.parameters), u, i)
    predictions = rec.model.predict(rec.parameters, u.astype(np.int32), i.astype(np.int32))
    np.testing.assert_allclose(np.clip(rates, 1, 5), predictions, rtol=0, atol=2e-6)
    known = i >= 0
    scores = rec.model.score_all(rec.parameters, np.arange(-1, ratings.n_users, dtype=np.int32))
    np.testing.assert_allclose(rates[known], scores.ravel(), rtol=0, atol=2e-6)


def test_the_module_is_a_copy_in_evaluation_mode_with_the_four_tables_to_train():
    model, parameters = made("linear")
    module = model.to_torch(parameters)
    assert not module.training
    assert [name for name, _ in module.named_parameters()] == list(DotBias.groups)
    assert {name for name, _ in module.named_buffers()} == {"global_mean", "scale"}
    before = parameters["user_bias"].copy()
    with torch.no_grad():
        module.user_bias += 1
    assert np.array_equal(parameters["user_bias"], before)


# Derivatives.


@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_equal_finite_differences(output):
    model, parameters = made(output)
    module = model.to_torch(parameters).double()
    u, i = map(torch.tensor, pairs(12, 9))
    weights = torch.tensor(np.random.default_rng(4).normal(size=len(u)))
    gradients = torch.autograd.grad(weights @ module(u, i), list(module.parameters()))
    for table, gradient in zip(module.parameters(), gradients, strict=True):
        flat, step = table.data.view(-1), 1e-6
        slopes = np.empty(len(flat))
        for place, value in enumerate(flat.tolist()):
            ends = []
            for moved in (value + step, value - step):
                flat[place] = moved
                ends.append(float((weights @ module(u, i)).detach()))
            flat[place] = value
            slopes[place] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient.view(-1).numpy(), slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_reach_the_rows_of_the_batch_and_no_others(output):
    model, parameters = made(output)
    module = model.to_torch(parameters)
    module(torch.tensor([2, -1, 5, 2]), torch.tensor([7, 4, -1, 1])).sum().backward()
    reached = {
        name: set(torch.nonzero(t.grad.reshape(len(t), -1).any(dim=1)).view(-1).tolist())
        for name, t in module.named_parameters()
    }
    assert reached == {
        "user_factors": {2},  # user 5 met an unknown item: its factors met zeros
        "item_factors": {1, 7},
        "user_bias": {2, 5},
        "item_bias": {1, 4, 7},
    }


@pytest.mark.parametrize("output", OUTPUTS)
def test_it_can_be_trained_with_plain_torch_and_taken_back(ratings, output):
    rec = db.fit(
        ratings, DotBias(n_factors=3, output=output), db.GradientDescent(n_epochs=2), seed=0
    )
    module = rec.model.to_torch(rec.parameters).train()
    u, i = (torch.tensor(a.astype(np.int64)) for a in (ratings.user_indices, ratings.item_indices))
    values, losses = torch.tensor(ratings.values), []
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(module(u, i), values)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    _, parameters = DotBias.from_torch(module)
    trained = replace(rec, parameters=parameters)
    frame = ratings.to_frame()
    users, items = frame["user"].to_list(), frame["item"].to_list()
    errors = [np.mean((r.predict(users, items) - ratings.values) ** 2) for r in (rec, trained)]
    assert errors[1] < 0.5 * errors[0]


# And back.


def assert_same_bits(got: Parameters, wanted: Parameters) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].dtype == np.float32
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes(), name


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(1, 5),
    st.sampled_from(OUTPUTS),
    st.floats(0.01, 3),
)
def test_the_way_back_gives_the_same_model_and_the_same_bits(n_users, n_items, k, output, margin):
    model, parameters = made(output, n_users, n_items, k, margin=margin)
    module = model.to_torch(parameters)
    for source in (module, module.state_dict(), torch.nn.Sequential(module)):
        back, arrays = DotBias.from_torch(source)
        assert back == model
        assert_same_bits(arrays, parameters)


def test_the_way_back_leads_through_a_file():
    model, parameters = made("sigmoid", margin=0.1)
    file = io.BytesIO()
    torch.save(model.to_torch(parameters).state_dict(), file)
    file.seek(0)
    back, arrays = DotBias.from_torch(torch.load(file, weights_only=True))
    assert back == model
    assert_same_bits(arrays, parameters)


def test_a_state_dict_brings_its_settings_into_another_module():
    model, parameters = made("sigmoid", margin=0.1)
    other = DotBias().to_torch(made("linear")[1])
    other.load_state_dict(model.to_torch(parameters).state_dict())
    u, i = pairs(12, 9)
    assert np.array_equal(rated(other, u, i), rated(model.to_torch(parameters), u, i))


def test_what_folding_in_needs_comes_back_and_samples_do_not(ratings):
    users = pl.DataFrame({"id": ratings.user_vocabulary.ids, "old": [True, False] * 6})
    rec = db.fit(ratings.with_features(users=users), DotBias(n_factors=3), GIBBS, seed=0)
    _, parameters = DotBias.from_torch(rec.model.to_torch(rec.parameters))
    left = set(SAMPLES)
    assert left < rec.parameters.keys()
    assert {
        "user_feature_mean",
        "user_feature_effects",
        "user_feature_precision",
    } < parameters.keys()
    assert_same_bits(
        parameters, {name: a for name, a in rec.parameters.items() if name not in left}
    )
    one = ratings.to_frame().select("item", "rating").head(4)
    again = replace(rec, parameters=parameters).fold_in_user(one)
    assert np.array_equal(again.factors, rec.fold_in_user(one).factors)


def test_what_comes_back_is_a_copy_in_single_precision():
    model, parameters = made("linear")
    module = model.to_torch(parameters).double()
    _, arrays = DotBias.from_torch(module)
    assert_same_bits(arrays, parameters)
    single = model.to_torch(parameters)
    _, arrays = DotBias.from_torch(single)
    arrays["user_bias"][:] = 7
    assert not (single.user_bias == 7).any()


def without(name):
    return lambda state: state.pop(name)


def put(name, value):
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("item_bias"), r"from_torch: the state has no 'item_bias', but 'user_factors', "),
        (without("scale"), "the state has no 'scale'"),
        (without("_extra_state"), "the state has no '_extra_state'"),
        (dict.clear, "the state has no 'user_factors', but nothing"),
        (put("hidden", torch.zeros(2)), "the state has 'hidden', for which DotBias has no place"),
        (put("twin.user_bias", torch.zeros(2)), r"several such modules, under '', 'twin\.'"),
        (put("_extra_state", {"layers": 3}), "_extra_state holds no settings of DotBias"),
        (put("_extra_state", None), "_extra_state holds no settings of DotBias"),
        (put("user_bias", "many"), "user_bias is no table of numbers"),
        (
            put("user_bias", torch.zeros(12, 1)),
            r"user_bias must have the shape \(12,\), not \(12, 1\)",
        ),
        (put("item_factors", torch.zeros(9, 4)), r"item_factors must have the shape \(9, 3\)"),
        (put("user_factors", torch.zeros(12)), "user_factors must have rows and columns"),
        (put("user_factors", torch.zeros(12, 0)), "user_factors must have rows and columns"),
        (
            put("item_bias", torch.full((9,), torch.nan)),
            "item_bias holds numbers that are not finite",
        ),
        (put("scale", torch.zeros(1)), r"scale must have the shape \(2,\)"),
        (put("scale", torch.tensor([5.0, 1.0])), "scale must have the lower end first"),
        (put("global_mean", torch.tensor([6.0])), "between the ends .*, 0.7 and 5.3, not at 6"),
    ],
)
def test_a_state_that_is_none_of_ours_is_refused(spoil, message):
    model, parameters = made("sigmoid")
    state = dict(model.to_torch(parameters).state_dict())
    spoil(state)
    with pytest.raises(DataError, match=message):
        DotBias.from_torch(state)


def test_settings_in_a_state_are_held_to_their_range():
    model, parameters = made("sigmoid")
    state = dict(model.to_torch(parameters).state_dict())
    state["_extra_state"] = state["_extra_state"] | {"margin": -1.0}
    with pytest.raises(SettingError, match="margin must be above 0"):
        DotBias.from_torch(state)


@pytest.mark.parametrize("source", [3, "model.pth", [1, 2]])
def test_only_modules_and_state_dicts_are_read(source):
    for read in (DotBias.from_torch, lambda s: DotBias.from_fastai(s, y_range=None, scale=(1, 5))):
        with pytest.raises(SettingError, match=r"reads a torch.nn.Module or its state dict, not a"):
            read(source)


# fast.ai.


def fastai_state(
    n_users: int = 6, n_items: int = 5, k: int = 3, prefix: str = ""
) -> dict[str, Any]:
    """A state dict as that of ``EmbeddingDotBias`` (fast.ai 2.8.12), row 0 being that of "#na#"."""
    rng = torch.Generator().manual_seed(2)
    shapes = {"u_weight": (n_users, k), "i_weight": (n_items, k), "u_bias": (n_users, 1)}
    shapes["i_bias"] = (n_items, 1)
    return {
        f"{prefix}{name}.weight": torch.randn(shape, generator=rng)
        for name, shape in shapes.items()
    }


def fastai_formula(state: dict[str, Any], y_range: Any, users: Any, items: Any) -> Any:
    """``EmbeddingDotBias.forward`` of fast.ai 2.8.12, line by line, in double precision.

    res = dot.sum(1) + u_bias + i_bias; sigmoid(res) * (y_range[1] - y_range[0]) + y_range[0]
    """
    p, q, b_u, b_i = (
        state[f"{n}.weight"].double() for n in ("u_weight", "i_weight", "u_bias", "i_bias")
    )
    res = (p[users] * q[items]).sum(1) + b_u[users, 0] + b_i[items, 0]
    if y_range is None:
        return res.numpy()
    return (torch.sigmoid(res) * (y_range[1] - y_range[0]) + y_range[0]).numpy()


@pytest.mark.parametrize(
    ("y_range", "scale"),
    [(None, (1, 5)), ((0, 5.5), (0.5, 5)), ((0.9, 5.1), (1, 5)), ((-20, 120), (0, 100))],
)
@pytest.mark.parametrize("na_row", [True, False])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_model_of_fastai_predicts_the_same_here(y_range, scale, na_row, prefix):
    model, parameters = DotBias.from_fastai(
        fastai_state(prefix=prefix), y_range=y_range, scale=scale, na_row=na_row
    )
    first = 1 if na_row else 0
    u, i = (a.ravel() for a in np.indices((6 - first, 5 - first)))
    expected = fastai_formula(fastai_state(), y_range, u + first, i + first)
    within = 1e-6 if y_range is None else 2e-7 * (y_range[1] - y_range[0])
    got = rated(model.to_torch(parameters), u, i)
    np.testing.assert_allclose(got, expected, rtol=0, atol=within)
    predictions = model.predict(parameters, u.astype(np.int32), i.astype(np.int32))
    np.testing.assert_allclose(predictions, np.clip(expected, *scale), rtol=0, atol=within)
    assert parameters["user_bias"].shape == (6 - first,)
    assert parameters["item_factors"].shape == (5 - first, 3)


@pytest.mark.parametrize(("y_range", "middle"), [(None, 1), ((0, 5.5), 2.75)])
def test_what_fastai_has_never_seen_counts_as_zeros(y_range, middle):
    """Without a range the middle is 0, which is cut off at the lowest rating."""
    scale = (1, 5) if y_range is None else (0.5, 5)
    model, parameters = DotBias.from_fastai(fastai_state(), y_range=y_range, scale=scale)
    nobody = np.array([-1], np.int32)
    assert model.predict(parameters, nobody, nobody) == middle
    state = fastai_state()
    for table in state.values():
        table[0] = 0
    expected = fastai_formula(state, y_range, np.zeros(4, int), np.arange(1, 5))
    alone = model.predict(parameters, np.full(4, -1, np.int32), np.arange(4, dtype=np.int32))
    np.testing.assert_allclose(alone, np.clip(expected, *scale), rtol=0, atol=1e-6)


def test_the_module_of_fastai_itself_can_be_given():
    class EmbeddingDotBias(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u_weight, self.i_weight = torch.nn.Embedding(6, 3), torch.nn.Embedding(5, 3)
            self.u_bias, self.i_bias = torch.nn.Embedding(6, 1), torch.nn.Embedding(5, 1)

    module = EmbeddingDotBias()
    module.load_state_dict(fastai_state())
    settings = {"y_range": (0, 5.5), "scale": (0.5, 5)}
    model, parameters = DotBias.from_fastai(module, **settings)
    wanted_model, wanted = DotBias.from_fastai(fastai_state(), **settings)
    assert model == wanted_model == DotBias(n_factors=3, output="sigmoid", margin=0.5)
    assert_same_bits(parameters, wanted)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            without("i_bias.weight"),
            r"from_fastai: the state has no 'i_bias\.weight', but 'u_weight",
        ),
        (
            put("layers.0.weight", torch.zeros(2)),
            r"has 'layers\.0\.weight', for which DotBias has no",
        ),
        (put("u_bias.weight", torch.zeros(6)), r"u_bias\.weight must have the shape \(6, 1\)"),
        (put("i_bias.weight", torch.zeros(6, 1)), r"i_bias\.weight must have the shape \(5, 1\)"),
        (
            put("i_weight.weight", torch.zeros(5, 2)),
            r"i_weight\.weight must have the shape \(5, 3\)",
        ),
        (put("u_weight.weight", torch.full((6, 3), torch.inf)), "numbers that are not finite"),
    ],
)
def test_a_state_that_is_not_fastais_is_refused(spoil, message):
    state = fastai_state()
    spoil(state)
    with pytest.raises(DataError, match=message):
        DotBias.from_fastai(state, y_range=None, scale=(1, 5))


def test_tables_with_nothing_but_the_row_of_na_are_refused():
    with pytest.raises(DataError, match=r"u_weight\.weight has no row but that of '#na#'"):
        DotBias.from_fastai(fastai_state(n_users=1), y_range=None, scale=(1, 5))


@pytest.mark.parametrize(
    ("y_range", "scale", "message"),
    [
        (
            (5, 1),
            (1, 5),
            r"from_fastai\(y_range=\(5, 1\)\): y_range must be two finite numbers, the ",
        ),
        ((0, float("inf")), (1, 5), "y_range must be two finite numbers"),
        (5.5, (1, 5), "y_range must be two finite numbers"),
        (None, (5, 5), r"from_fastai\(scale=\(5, 5\)\): scale must be two finite numbers"),
        (None, None, "scale must be two finite numbers"),
        (
            (1, 5),
            (1, 5),
            "y_range must exceed the scale by the same amount, above 0, on both sides",
        ),
        ((2, 4), (1, 5), "y_range must exceed the scale by the same amount, above 0"),
        ((0, 5.5), (1, 5), "y_range must exceed the scale by the same amount, above 0"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(y_range, scale, message):
    with pytest.raises(SettingError, match=message):
        DotBias.from_fastai(fastai_state(), y_range=y_range, scale=scale)
