"""Training networks: against the compiled solver, against plain PyTorch, and what can go wrong."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scripts import pages

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import DivergenceError, SettingError
from dotbias.fitting.fit import default_solver
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.descent.rules import RULES, GroupRule
from dotbias.solvers.descent.schedules import SCHEDULES
from dotbias.solvers.descent.training import Training
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch, which trains networks, is not installed")

from torch import nn  # noqa: E402

from dotbias.solvers.descent.network_steps import (  # noqa: E402
    Rows,
    move_compiled,
    move_tensors,
)
from dotbias.solvers.descent.network_training import NetworkTraining, groups_of  # noqa: E402
from tests.solvers.descent.test_torch import optimiser as optimiser_of  # noqa: E402

N_FACTORS = 4
RATINGS = random_ratings(n_users=12, n_items=9, n=63, seed=3)
SPREAD, MEAN = RATINGS.std, float(np.float32(RATINGS.global_mean))


pytestmark = pytest.mark.usefixtures("one_thread_in_double_precision")


@pytest.fixture
def ratings() -> Ratings:
    return RATINGS


class DotBiasNet(nn.Module):
    """The shallow model as a module of one's own, in the units of the ratings' std."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user_factors = nn.Embedding(n_users, N_FACTORS)
        self.item_factors = nn.Embedding(n_items, N_FACTORS)
        self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)

    def forward(self, user: Any, item: Any) -> Any:
        dot = (self.user_factors(user) * self.item_factors(item)).sum(1)
        z = dot + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]
        return MEAN + SPREAD * z


def solver(rule: str, **settings: Any) -> db.GradientDescent:
    made = RULES[rule]
    rates = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adadelta": 1.0, "dog": 1.0}
    rate = rates.get(rule, 0.01)
    # A large ε dampens what rounding becomes in rules that divide by small gradients.
    eps = {"eps": 0.01} if hasattr(made, "eps") else {}
    given = {"batch_size": 16, "n_epochs": 25, "order": "stored", "weight_decay": 0.0, **settings}
    return db.GradientDescent(made(lr=rate, **eps), **given)


def both(descent: db.GradientDescent, ratings: Ratings) -> tuple[Any, Any]:
    """The compiled run and the network's, from the same starting parameters.

    Rates and decays by group are those of networks; the compiled run gets them by its own names.
    """
    rule, decay = descent.rule, descent.decay
    if isinstance(rule.lr, dict):
        rule = replace(rule, lr=compiled_names(rule.lr))
    if isinstance(decay.amount, dict):
        decay = replace(decay, amount=compiled_names(decay.amount))
    compiled = Training(
        replace(descent, rule=rule, weight_decay=decay),
        db.DotBias(n_factors=N_FACTORS, init_std=0.3),
        ratings,
        dtype=np.float64,
    )
    model = db.Network(DotBiasNet, masked=0.0)
    network = NetworkTraining(descent, model, ratings, dtype=np.float64)
    start = dict(zip(compiled.model.groups, compiled.tables.values, strict=True))
    with torch.no_grad():
        for name, table in start.items():
            weight = network.module.get_parameter(f"{name}.weight")
            weight[:-1] = torch.tensor(table.reshape(len(table), -1))
            weight[-1] = 0
    if isinstance(rule, GroupRule):  # what it knows of groups is of these values
        moved = network._optimiser.trained.items()
        network._optimiser.groups = {n: rule.begin(w.detach().numpy()) for n, w in moved}
    return compiled, network


def compiled_names(by_group: dict[str, float]) -> dict[str, float]:
    names = {"embeddings": ("user_factors", "item_factors"), "biases": ("user_bias", "item_bias")}
    return {name: value for group, value in by_group.items() for name in names[group]}


def assert_same_tables(compiled: Any, network: Any, rtol: float = 1e-9) -> None:
    for name, table in zip(compiled.model.groups, compiled.tables.values, strict=True):
        ours = network.module.get_parameter(f"{name}.weight").detach().numpy()[:-1]
        theirs = table.reshape(len(table), -1)
        assert np.linalg.norm(ours - theirs) < rtol * np.linalg.norm(theirs), name


@pytest.mark.parametrize("semantics", ["lazy", "dense"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_does_to_a_network_what_it_does_to_the_compiled_model(rule, semantics, ratings):
    compiled, network = both(solver(rule, semantics=semantics), ratings)
    assert_same_tables(compiled.run(), network.run())


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_weight_decay_counts_per_rating_as_in_the_compiled_model(rule, decoupled, ratings):
    amount = {"embeddings": 0.3, "biases": 0.2}
    descent = solver(rule, weight_decay=db.WeightDecay(amount, decoupled=decoupled))
    compiled, network = both(descent, ratings)
    assert_same_tables(compiled.run(), network.run())
    plain, _ = both(solver(rule), ratings)
    plain.run()
    assert np.linalg.norm(plain.tables.values[0]) > 1.005 * np.linalg.norm(
        compiled.tables.values[0]
    )


@pytest.mark.parametrize("schedule", ["one-cycle", "warm-restarts"])
@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_schedules_clipping_and_rates_of_groups_act_alike(rule, schedule, ratings):
    descent = solver(rule, schedule=SCHEDULES[schedule](), clip=0.2, n_epochs=12)
    compiled, network = both(descent, ratings)
    unclipped, _ = both(replace(descent, clip=None), ratings)
    assert_same_tables(compiled.run(), network.run())
    assert not np.allclose(unclipped.run().tables.values[0], compiled.tables.values[0], rtol=1e-3)


def test_groups_have_rates_of_their_own_and_frozen_ones_stay(ratings):
    rule = db.SGD(lr={"embeddings": 0.1, "biases": 0.02})
    descent = replace(solver("sgd"), rule=rule)
    compiled, network = both(descent, ratings)
    assert_same_tables(compiled.run(), network.run())
    model = db.EmbeddingNet(n_factors=3)
    still = NetworkTraining(replace(descent, rule=db.SGD(), frozen=("embeddings",)), model, ratings)
    parameters = still.run().result()
    for name, array in still.start.items():
        rows = slice(None, -1 if "factors" in name else None)  # the last one is the others' mean
        moved = not np.array_equal(array[rows], parameters[name][rows])
        assert moved == name.startswith(("hidden", "output")), name


def test_slices_spread_rates_over_the_groups_from_the_embeddings_up():
    table = db.GradientDescent(db.SGD(lr=slice(0.001, 0.008))).groups(db.EmbeddingNet(), RATINGS)
    assert table["group"].to_list() == ["embeddings", "hidden", "output", "biases"]
    np.testing.assert_allclose(table["lr"], [0.001, 0.002, 0.004, 0.008])
    assert table["numbers"].to_list() == [50 * (13 + 10), 100 * 100, 100, 100 + 1]


def test_a_network_is_compared_with_biases_without_its_dropout():
    ratings, _ = db.simulate(60, 40, 2000, n_factors=2, seed=0)
    rec = db.fit(ratings, db.EmbeddingNet(n_factors=8, hidden=(20,), dropout=0.5), progress=False)
    history = rec.history
    predicted = rec.model.predict(rec.parameters, ratings.user_indices, ratings.item_indices)
    without = np.sqrt(np.mean((predicted.astype(np.float64) - ratings.values) ** 2))
    assert history.rmse == pytest.approx(without)
    assert history.epochs[-1].train_rmse > 1.02 * without
    held = db.GradientDescent(db.Adam(), n_epochs=1, validation_size=0.2)
    assert held.fit(db.EmbeddingNet(n_factors=2), ratings)[1].fitted_rmse is None


def test_groups_go_by_name():
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.item_bias = nn.Embedding(3, 2), nn.Embedding(3, 1)
            self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
            self.output = nn.Linear(2, 1)
            self.fixed = nn.Parameter(torch.zeros(1), requires_grad=False)

    assert groups_of(Module()) == {
        "user.weight": "embeddings",
        "item_bias.weight": "biases",
        "body.0.weight": "hidden",
        "body.0.bias": "biases",
        "body.1.weight": "biases",
        "body.1.bias": "biases",
        "output.weight": "output",
        "output.bias": "biases",
    }


def test_weight_decay_leaves_biases_and_batch_norm_alone_unless_they_are_named(ratings):
    model = db.EmbeddingNet(
        n_factors=3, batch_norm=True, dropout=0.0, embedding_dropout=0.0, masked=0.0
    )

    def after_one_step(decay: Any) -> dict[str, Any]:
        descent = db.GradientDescent(
            db.SGD(lr=0.1), n_epochs=1, batch_size=None, weight_decay=decay
        )
        run = NetworkTraining(descent, model, ratings, dtype=np.float64)
        with torch.no_grad():
            run.module.hidden[1].bias.fill_(0.7)
        run.run()
        return {name: p.detach().clone() for name, p in run.module.named_parameters()}

    plain, decayed, named = map(after_one_step, (0.0, 0.5, {"biases": 0.5}))
    groups = groups_of(model.to_torch(model.initialise(ratings, np.random.default_rng(0))))
    for name, group in groups.items():
        assert torch.equal(plain[name], decayed[name]) == (group == "biases"), name
    assert not torch.equal(plain["hidden.1.bias"], named["hidden.1.bias"])


def test_a_step_is_that_of_plain_pytorch(ratings):
    """The whole network with its penalty written out, against one epoch of ours."""
    model = db.EmbeddingNet(
        n_factors=3, hidden=(5, 4), dropout=0.0, embedding_dropout=0.0, masked=0.0
    )
    decay = {"embeddings": 0.3, "hidden": 0.02, "output": 0.05}
    descent = db.GradientDescent(
        db.Momentum(lr=0.05),
        n_epochs=2,
        batch_size=20,
        order="stored",
        weight_decay=decay,
        semantics="dense",
        schedule="constant",
    )
    run = NetworkTraining(descent, model, ratings, dtype=np.float64)
    twin = model.to_torch(run.start).double()
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    users, items = (
        torch.tensor(ids.astype(np.int64)) for ids in (ratings.user_indices, ratings.item_indices)
    )
    values = torch.tensor(ratings.values.astype(np.float64))
    for start in [0, 20, 40, 60] * 2:
        u, i, r = (column[start : start + 20] for column in (users, items, values))
        tables = twin.user_factors(u), twin.item_factors(i)
        loss = 0.5 * ((twin(u, i) - r) ** 2 / ratings.std**2).mean()
        loss = loss + 0.15 * sum((table**2).sum(1).mean() for table in tables)
        loss = loss + 0.01 * sum((twin.hidden[n].weight ** 2).sum() for n in (0, 3))
        loss = loss + 0.025 * (twin.output.weight**2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    run.run()
    for name, theirs in twin.named_parameters():
        ours = run.module.get_parameter(name)
        if "factors" in name:
            ours, theirs = ours[:-1], theirs[:-1]
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


# -- what a run must do, whatever the network ----------------------------------------------------


NET = db.EmbeddingNet(n_factors=4, hidden=(6,), batch_norm=True)


def short(**settings: Any) -> db.GradientDescent:
    given: dict[str, Any] = {"n_epochs": 4, "batch_size": 16, **settings}
    return db.GradientDescent(given.pop("rule", db.Adam(lr=0.01)), **given)


def test_the_seed_decides_weights_order_masks_and_dropout_and_nothing_outside_does(ratings):
    descent = short()
    first, _ = descent.fit(NET, ratings, seed=1)
    torch.manual_seed(99)
    outside = torch.rand(3)
    torch.manual_seed(99)
    again, _ = descent.fit(NET, ratings, seed=1)
    assert torch.equal(torch.rand(3), outside)  # the caller's generator is where it was
    other, _ = descent.fit(NET, ratings, seed=2)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["output.weight"], other["output.weight"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("semantics", ["lazy", "dense"])
def test_a_saved_run_goes_on_as_if_nothing_had_happened(rule, semantics, ratings, tmp_path):
    descent = short(rule=RULES[rule](), semantics=semantics, average=2, validation_size=0.2)
    whole = descent.start(NET, ratings, seed=3).run()
    begun = descent.start(NET, ratings, seed=3).run(2)
    begun.checkpoint().save(tmp_path / "run")
    resumed = descent.start(NET, ratings, seed=3).restore(Checkpoint.load(tmp_path / "run")).run()
    assert [e.train_rmse for e in resumed.history.epochs] == [
        e.train_rmse for e in whole.history.epochs
    ]
    for name, array in whole.result().items():
        np.testing.assert_array_equal(array, resumed.result()[name], err_msg=name)


def test_early_stopping_gives_the_best_epoch_back(ratings):
    descent = short(rule=db.Adam(lr=0.1), n_epochs=40, validation_size=0.2, patience=2)
    run = descent.start(NET, ratings, seed=1).run()
    assert run.history.stopped == "early"
    best = min(run.history.epochs, key=lambda e: e.validation_rmse)
    assert best.epoch == run.history.best_epoch < len(run.history.epochs)
    held = run.validation
    prediction = NET.predict(run.result(), held.users, held.items)
    rmse = np.sqrt(np.mean((prediction - held.values) ** 2))
    assert rmse == pytest.approx(best.validation_rmse, rel=1e-6)


def test_cycles_of_warm_restarts_are_kept_and_averaged(ratings):
    schedule = SCHEDULES["warm-restarts"](first_cycle=2, cycle_mult=1)
    run = short(schedule=schedule, average=2).start(NET, ratings).run()
    cycles = run.history.cycle_parameters
    assert len(cycles) == 2
    mean = (cycles[0]["output.weight"] + cycles[1]["output.weight"]) / 2
    np.testing.assert_allclose(run.result()["output.weight"], mean, rtol=1e-6)


@pytest.mark.parametrize("n", [33, 34, 48])
def test_a_last_batch_of_one_joins_the_one_before(n, ratings):
    run = short().start(NET, ratings.rows(np.arange(n)))
    assert run._pass.sizes.tolist() == {33: [16, 17], 34: [16, 16, 2], 48: [16, 16, 16]}[n]
    run.run()
    assert run.history.stopped == "finished"


def test_a_network_with_nothing_said_fits_less_than_a_batch_of_ratings(ratings):
    few = ratings.rows(np.arange(40))
    by_default = db.fit(few, NET, progress=False)
    all_at_once = replace(default_solver(NET), batch_size=None)
    assert default_solver(NET).batch_size > 40
    for name, array in db.fit(few, NET, all_at_once, progress=False).parameters.items():
        np.testing.assert_array_equal(by_default.parameters[name], array)


def test_a_batch_of_one_with_batch_norm_is_refused(ratings):
    with pytest.raises(SettingError, match="batch_size=1: batch normalisation needs at least 2"):
        short(batch_size=1).start(NET, ratings)
    with pytest.raises(SettingError, match="batch normalisation needs at least 2"):
        short(batch_size=None).start(NET, Ratings.from_columns([1], [1], [3.0]))
    one_by_one = replace(NET, batch_norm=False)
    assert short(batch_size=1, n_epochs=1).fit(one_by_one, ratings)[1].stopped == "finished"


def test_nan_in_training_is_a_divergence(ratings):
    with pytest.raises(DivergenceError, match="Lower the learning rate"):
        short(rule=db.SGD(lr=1e9)).fit(replace(NET, output="linear", batch_norm=False), ratings)


class Wrong(DotBiasNet):
    def forward(self, user: Any, item: Any) -> Any:
        return super().forward(user, item)[:, None]


class WithoutRows(nn.Module):
    def __init__(self, *_: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, *_: Any) -> Any:
        return 3.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            Wrong,
            r"forward\(user, item\) of Wrong must give a tensor of shape \(n,\), here \(16,\), not",
        ),
        (WithoutRows, r"forward\(user, item\) of WithoutRows must give a tensor .* not float"),
        (lambda *_: None, r"makes a torch.nn.Module, not a NoneType"),
        ("DotBiasNet", r"make must be a function \(or class\)"),
    ],
)
def test_a_module_that_does_not_do_is_refused(make, message, ratings):
    with pytest.raises(SettingError, match=message):
        short().fit(db.Network(make), ratings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:7"}, "device='cuda:7' is not there: this machine offers cpu"),
        ({"device": "toaster"}, "device='toaster' is not there"),
        ({"parallel": "hogwild", "batch_size": 1}, "parallel='hogwild' is for DotBias"),
        ({"weight_decay": db.WeightDecay(0.1, per="row")}, "per='row' is for DotBias"),
        ({"weight_decay": {"user_bias": 0.1}}, "weight_decay names no group 'user_bias'"),
        ({"frozen": ("user_bias",)}, "frozen must name some of the groups embeddings, hidden"),
        ({"frozen": ("embeddings", "hidden", "output", "biases")}, "every group .* is frozen"),
        ({"rule": db.SGD(lr={"item_bias": 0.1})}, "lr names no group 'item_bias'"),
    ],
)
def test_settings_that_networks_do_not_have_are_refused(settings, message, ratings):
    with pytest.raises(SettingError, match=message):
        short(**settings).fit(NET, ratings)


def test_groups_of_networks_are_none_of_the_shallow_model(ratings):
    for settings in ({"frozen": ("hidden",)}, {"weight_decay": {"hidden": 0.1}}):
        with pytest.raises(SettingError, match="'hidden'"):
            db.GradientDescent(**settings).fit(db.DotBias(n_factors=2), ratings)
    with pytest.raises(SettingError, match="device='cuda': DotBias is trained on the CPU"):
        db.GradientDescent(device="cuda").fit(db.DotBias(n_factors=2), ratings)


@dataclass(frozen=True, kw_only=True)
class Branching(db.Rule):
    """A rule of one's own that treats single numbers."""

    n_slots = 1

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        pull = g if g * g < 0.01 else 0.1 * g
        return lr * (pull + 0.5 * state[0]), (pull,)


@dataclass(frozen=True, kw_only=True)
class Choosing(Branching):
    """The same for numbers and tensors."""

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        pull = np.where(g * g < 0.01, g, 0.1 * g)
        return lr * (pull + 0.5 * state[0]), (pull,)


@pytest.mark.parametrize("rule", [Branching, Choosing])
def test_a_rule_of_ones_own_trains_a_network_as_it_does_the_compiled_model(rule, ratings):
    compiled, network = both(replace(solver("sgd"), rule=rule(lr=0.1)), ratings)
    assert_same_tables(compiled.run(), network.run())


# -- one step of a rule, in both worlds -----------------------------------------------------------


def moved(move: Any, rule: db.Rule, decoupled: bool, n_steps: int = 8) -> list[np.ndarray]:
    """Two of four rows after some steps, and what the rule has kept."""
    rng = np.random.default_rng(0)
    w, rows = torch.tensor(rng.normal(size=(4, 3))), torch.tensor([0, 2])
    numbers = torch.zeros(rule.n_slots, 4, 1 if rule.per_row else 3)
    of_group = [0.5] if isinstance(rule, GroupRule) else []
    for c in rule.coefficient_table(np.arange(1.0, n_steps + 1)):
        c = np.append(c, of_group)
        g, decay = torch.tensor(rng.normal(size=(2, 3))), torch.tensor(rng.random((2, 1)))
        move(Rows(w, numbers, rows, g, decay), 0.03, c, decoupled)
    return [w.numpy(), numbers.numpy()]


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("rule", [*RULES.values(), Choosing], ids=lambda rule: rule.__name__)
def test_whole_tensors_move_like_single_numbers(rule, decoupled):
    pairs = (moved(make(rule()), rule(), decoupled) for make in (move_compiled, move_tensors))
    for ours, theirs in zip(*pairs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_a_rule_that_takes_single_numbers_alone_is_refused_for_tensors():
    message = r"Branching.update takes single numbers alone, .*numpy.where.* device='cpu'"
    with pytest.raises(SettingError, match=message):
        move_tensors(Branching())


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", [name for name in RULES if pages.counterpart(RULES[name])])
def test_two_hundred_steps_are_those_of_torch(name, dtype, within):
    """Compared by the whole way, since PyTorch rounds in another order."""
    rule, rng = RULES[name](), np.random.default_rng(0)
    start = torch.tensor(rng.normal(size=(30, 20)), dtype=dtype)
    ours, theirs = start.clone(), nn.Parameter(start.clone())
    numbers, rows = torch.zeros(rule.n_slots, 30, 20, dtype=dtype), torch.arange(30)
    optimiser = optimiser_of(pages.counterpart(rule))([theirs], lr=rule.top_rate, weight_decay=0.0)
    move, none = move_compiled(rule), torch.zeros(30, 1, dtype=dtype)
    for c in rule.coefficient_table(np.arange(1.0, 201)):
        theirs.grad = torch.tensor(rng.normal(size=(30, 20)), dtype=dtype)
        move(Rows(ours, numbers, rows, theirs.grad, none), rule.top_rate, c, False)
        optimiser.step()
    way = torch.linalg.norm(theirs.detach() - start)
    assert torch.linalg.norm(ours - theirs.detach()) < within * torch.linalg.norm(theirs)
    assert way > 1000 * within * torch.linalg.norm(theirs)


def test_what_a_rule_keeps_is_refused_in_another_shape(ratings):
    run = short().start(NET, ratings).run(1)
    arrays = run.state()
    for altered in ({}, {"state/hidden.0.weight": np.zeros((2, 1, 7))}):
        broken = {
            n: a for n, a in arrays.items() if altered or "hidden.0.weight" not in n
        } | altered
        with pytest.raises(SettingError, match=r"what the rule keeps of hidden.0.weight"):
            run.set_state(broken | {n: a for n, a in arrays.items() if n.startswith("value/")})


def test_gradient_noise_moves_a_network_at_random(ratings):
    quiet, _ = short().fit(NET, ratings)
    noisy, _ = short(gradient_noise=0.5).fit(NET, ratings)
    assert not np.array_equal(quiet["output.weight"], noisy["output.weight"])


class Twice(DotBiasNet):
    """Looks the items up twice, and uses their table as a whole too."""

    whole = False

    def forward(self, user: Any, item: Any) -> Any:
        rating = super().forward(user, item) + self.item_factors(item.flip(0)).sum(1).flip(0)
        return rating + self.item_factors.weight.mean() if self.whole else rating


class Whole(Twice):
    whole = True


@pytest.mark.parametrize("semantics", ["lazy", "dense"])
def test_a_table_that_is_looked_up_twice_gets_both_gradients(semantics, ratings):
    descent = solver("sgd", semantics=semantics, n_epochs=2, schedule="constant")
    run = NetworkTraining(descent, db.Network(Twice, masked=0.0), ratings, dtype=np.float64)
    assert_as_plain(run, Twice, ratings)


def test_a_table_that_is_used_as_a_whole_is_trained_densely(ratings):
    model = db.Network(Whole, masked=0.0)
    with pytest.raises(SettingError, match=r"item_factors.weight as a whole, .* semantics='dense'"):
        NetworkTraining(solver("sgd"), model, ratings, dtype=np.float64).run()
    descent = solver("sgd", semantics="dense", n_epochs=2, schedule="constant")
    assert_as_plain(NetworkTraining(descent, model, ratings, dtype=np.float64), Whole, ratings)


def assert_as_plain(run: NetworkTraining, make: Any, ratings: Ratings) -> None:
    """Two epochs of plain SGD in PyTorch."""
    twin = make(ratings.n_users + 1, ratings.n_items + 1)
    twin.load_state_dict(run.module.state_dict())
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.1)
    users, items = (
        torch.tensor(ids.astype(np.int64)) for ids in (ratings.user_indices, ratings.item_indices)
    )
    values = torch.tensor(ratings.values.astype(np.float64))
    for start in [0, 16, 32, 48] * 2:
        u, i, r = (column[start : start + 16] for column in (users, items, values))
        optimiser.zero_grad()
        (0.5 * ((twin(u, i) - r) ** 2 / SPREAD**2).mean()).backward()
        optimiser.step()
    run.run()
    for name, theirs in twin.named_parameters():
        torch.testing.assert_close(run.module.get_parameter(name), theirs, rtol=1e-9, atol=1e-12)
