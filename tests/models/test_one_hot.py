"""Looking a row up is multiplying a one-hot vector by the table: outputs, gradients and training.

Where each row of the gradient is one term, as with one rating at a time, both ways give the same bits:
all other terms are zeros. Where several are summed, the orders of the sums differ and so do the last
bits, unless the numbers are small whole ones, whose sums are exact in any order.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dotbias.data.ratings import Ratings
from dotbias.models import DotBias
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD
from dotbias.solvers.descent.training import Training
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch, an extra, is not installed")

Embed: TypeAlias = Callable[[Any, Any], Any]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def one_hot(rows: Any, m: int, dtype: Any) -> Any:
    return torch.nn.functional.one_hot(rows, m).to(dtype)


def multiplied(rows: Any, table: Any) -> Any:
    return one_hot(rows, len(table), table.dtype) @ table


def looked_up(rows: Any, table: Any) -> Any:
    return torch.nn.functional.embedding(rows, table)


def indexed(rows: Any, table: Any) -> Any:
    return table[rows]


lookups = pytest.mark.parametrize("lookup", [looked_up, indexed])

finite = st.floats(-1e6, 1e6, width=32)
sides = st.integers(1, 12)


@st.composite
def a_table_and_rows(draw: st.DrawFn, unique: bool = False) -> tuple[Any, Any]:
    m, n = draw(sides), draw(sides)
    table = draw(hnp.arrays(np.float32, (m, n), elements=finite))
    most = m if unique else 20
    rows = draw(st.lists(st.integers(0, m - 1), min_size=1, max_size=most, unique=unique))
    return torch.tensor(table), torch.tensor(rows)


@lookups
@given(drawn=a_table_and_rows())
def test_outputs_are_the_same_bits(lookup: Embed, drawn: Any) -> None:
    table, rows = drawn
    output = multiplied(rows, table)
    assert torch.equal(output, lookup(rows, table))
    assert np.array_equal(output.numpy(), table.numpy()[rows.numpy()])


def gradients(embed: Embed, rows: Any, table: Any, g: Any) -> Any:
    """What a gradient ``g`` of the output, shape (n_rows, n), makes of the table's."""
    table = table.clone().requires_grad_()
    embed(rows, table).backward(g)
    return table.grad


@lookups
@given(drawn=a_table_and_rows(unique=True), seed=st.integers(0, 99))
def test_gradients_are_the_same_bits_where_no_row_comes_twice(
    lookup: Embed, drawn: Any, seed: int
) -> None:
    table, rows = drawn
    g = torch.randn(len(rows), table.shape[1], generator=torch.Generator().manual_seed(seed))
    gradient = gradients(lookup, rows, table, g)
    assert torch.equal(gradient, gradients(multiplied, rows, table, g))
    expected = np.zeros_like(table.numpy())
    expected[rows.numpy()] = g.numpy()
    assert np.array_equal(gradient.numpy(), expected)


@lookups
@given(drawn=a_table_and_rows(), seed=st.integers(0, 99))
def test_gradients_of_whole_numbers_are_the_same_bits_however_often_a_row_comes(
    lookup: Embed, drawn: Any, seed: int
) -> None:
    table, rows = drawn
    rng = np.random.default_rng(seed)
    whole = rng.integers(-100, 100, (len(rows), table.shape[1])).astype(np.float32)
    gradient = gradients(lookup, rows, table, torch.tensor(whole))
    assert torch.equal(gradient, gradients(multiplied, rows, table, torch.tensor(whole)))
    expected = np.zeros_like(table.numpy())
    for row, g in zip(rows.tolist(), whole, strict=True):
        expected[row] += g
    assert np.array_equal(gradient.numpy(), expected)


@lookups
@given(drawn=a_table_and_rows(), seed=st.integers(0, 99))
def test_gradients_of_any_numbers_agree_to_rounding(lookup: Embed, drawn: Any, seed: int) -> None:
    table, rows = drawn
    g = torch.randn(
        len(rows),
        table.shape[1],
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    both = [gradients(embed, rows, table.double(), g) for embed in (lookup, multiplied)]
    np.testing.assert_allclose(both[0], both[1], rtol=0, atol=1e-13)


def test_a_layer_without_bias_on_one_hot_vectors_is_an_embedding() -> None:
    embedding, layer = torch.nn.Embedding(7, 4), torch.nn.Linear(7, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(embedding.weight.T)
    rows = torch.tensor([6, 0, 3])
    outputs = embedding(rows), layer(one_hot(rows, 7, torch.float32))
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(embedding.weight.grad, layer.weight.grad.T)


# Training.


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=12, n_items=9, n=60, seed=3)


N_STEPS = 10


def descend(
    embed: Embed,
    ratings: Ratings,
    *,
    sigmoid: bool,
    batch_size: int,
    dtype: Any = torch.float64,
    momentum: float = 0,
    n_steps: int = N_STEPS,
) -> list[Any]:
    """The four tables of dot product plus biases after steps of gradient descent."""
    rng = torch.Generator().manual_seed(1)
    shapes = (ratings.n_users, 3), (ratings.n_items, 3), (ratings.n_users, 1), (ratings.n_items, 1)
    p, q, b_u, b_i = tables = [
        (0.3 * torch.randn(shape, generator=rng, dtype=dtype)).requires_grad_() for shape in shapes
    ]
    users, items = (
        torch.tensor(a.astype(np.int64)) for a in (ratings.user_indices, ratings.item_indices)
    )
    values = torch.tensor(ratings.values).to(dtype)
    optimiser = torch.optim.SGD(tables, lr=0.05, momentum=momentum)
    for step in range(n_steps):
        batch = torch.arange(step * batch_size, (step + 1) * batch_size) % len(values)
        u, i = users[batch], items[batch]
        z = (embed(u, p) * embed(i, q)).sum(1) + embed(u, b_u)[:, 0] + embed(i, b_i)[:, 0]
        rating = 0.5 + 5 * torch.sigmoid(z) if sigmoid else 3 + z
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(rating, values[batch]).backward()
        optimiser.step()
    return [table.detach() for table in tables]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("sigmoid", [False, True], ids=["linear", "sigmoid"])
@lookups
def test_ten_steps_of_one_rating_each_end_at_the_same_bits(
    ratings: Ratings, lookup: Embed, sigmoid: bool, momentum: float, dtype: Any
) -> None:
    settings = {"sigmoid": sigmoid, "batch_size": 1, "dtype": dtype, "momentum": momentum}
    start = descend(lookup, ratings, n_steps=0, **settings)
    by_lookup, by_product = (descend(embed, ratings, **settings) for embed in (lookup, multiplied))
    for a, b, before in zip(by_lookup, by_product, start, strict=True):
        assert torch.equal(a, b)
        assert (a - before).abs().max() > 1e-3


@pytest.mark.parametrize("sigmoid", [False, True], ids=["linear", "sigmoid"])
@lookups
def test_ten_steps_of_batches_with_repeated_rows_agree_to_rounding(
    ratings: Ratings, lookup: Embed, sigmoid: bool
) -> None:
    assert len(set(ratings.item_indices[:12].tolist())) < 12
    by_lookup, by_product = (
        descend(embed, ratings, sigmoid=sigmoid, batch_size=12) for embed in (lookup, multiplied)
    )
    for a, b in zip(by_lookup, by_product, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


# The compiled loops, which only look up, against matrices in NumPy.

LR = 0.1
DECAY = {"user_factors": 0.1, "item_factors": 0.05, "user_bias": 0.3, "item_bias": 0.2}


def ten_steps_of_ours(
    ratings: Ratings, output: str, batch_size: int, semantics: str, decay: Any
) -> tuple[list[Any], list[Any]]:
    """Tables before and after, in double precision and in units of the ratings' std."""
    solver = GradientDescent(
        SGD(lr=LR),
        n_epochs=N_STEPS * batch_size // len(ratings),
        batch_size=batch_size,
        order="stored",
        schedule="constant",
        semantics=semantics,
        weight_decay=WeightDecay(decay, per="rating"),
        n_threads=1,
    )
    model = DotBias(n_factors=3, output=output, init_std=0.3)
    training = Training(solver, model, ratings, seed=5, dtype=np.float64)
    start = [table.copy() for table in training.tables.values]
    return start, training.run().tables.values


def ten_steps_of_matrices(
    start: list[Any], ratings: Ratings, output: str, batch_size: int, decay: Any, looked_up: bool
) -> list[Any]:
    """Gradients written out by hand, with ``X``, the one-hot vectors of a batch, shape (B, m).

    The decay is that of what is looked up, ``½ λ |X P|²``, or else that of the table, ``½ λ n |p|²`` for
    each row ``p`` with its ``n`` ratings; both are divided by the number of ratings that they count.
    """
    p, q, b_u, b_i = (table.copy() for table in start)
    values = ratings.values.astype(np.float64)
    spread, mean = values.std(), float(np.float32(values.mean()))  # kept in single precision
    low, width = 0.5 / spread, 5 / spread
    share = (mean / spread - low) / width
    every_user, every_item = np.eye(ratings.n_users), np.eye(ratings.n_items)
    n_u, n_i = (
        every_user[ratings.user_indices].sum(0)[:, None],
        every_item[ratings.item_indices].sum(0)[:, None],
    )
    for step in range(N_STEPS):
        batch = np.arange(step * batch_size, (step + 1) * batch_size) % len(values)
        x, y = (
            every_user[ratings.user_indices[batch]],
            every_item[ratings.item_indices[batch]],
        )  # (B, m)
        z = ((x @ p) * (y @ q)).sum(axis=1, keepdims=True) + x @ b_u + y @ b_i  # (B, 1)
        target = values[batch, None] / spread
        if output == "linear":
            g = mean / spread + z - target
        else:
            s = 1 / (1 + (1 - share) / share * np.exp(-z))
            g = (low + width * s - target) * width * s * (1 - s)
        sides = (
            ("user_factors", p, x, n_u, g * (y @ q)),
            ("item_factors", q, y, n_i, g * (x @ p)),
            ("user_bias", b_u, x, n_u, g),
            ("item_bias", b_i, y, n_i, g),
        )
        steps = []
        for name, table, hot, n, of_output in sides:
            shrunk = hot.T @ (hot @ table) / batch_size if looked_up else n * table / len(values)
            steps.append(LR * (hot.T @ of_output / batch_size + decay[name] * shrunk))
        for (_, table, *_), moved in zip(sides, steps, strict=True):
            table -= moved
    return [p, q, b_u, b_i]


@pytest.mark.parametrize("semantics", ["lazy", "dense"])
@pytest.mark.parametrize("decay", [dict.fromkeys(DECAY, 0.0), DECAY], ids=["bare", "decay"])
@pytest.mark.parametrize("batch_size", [6, 12, 60])
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_ten_steps_of_our_compiled_descent_are_those_of_one_hot_matrices(
    ratings: Ratings, output: str, batch_size: int, decay: Any, semantics: str
) -> None:
    """Lazy weight decay is that of what is looked up, the dense one that of the table."""
    start, ours = ten_steps_of_ours(ratings, output, batch_size, semantics, decay)
    lazy = semantics == "lazy"
    matrices = ten_steps_of_matrices(start, ratings, output, batch_size, decay, lazy)
    for a, b, before in zip(ours, matrices, start, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
        assert np.abs(a - before).max() > 1e-2


def test_lazy_and_dense_decay_differ(ratings: Ratings) -> None:
    """So the test above does tell them apart."""
    (_, lazy), (_, dense) = (
        ten_steps_of_ours(ratings, "linear", 6, semantics, DECAY) for semantics in ("lazy", "dense")
    )
    assert max(np.abs(a - b).max() for a, b in zip(lazy, dense, strict=True)) > 1e-4
