"""Solvers of models that predict ratings refuse counts and events, whatever asks them."""

from collections.abc import Callable

import pytest

import dotbias as db
from dotbias.errors import SettingError

KINDS = {
    kind: db.simulate(20, 15, 120, n_factors=2, kind=kind, seed=1).ratings  # type: ignore[arg-type]
    for kind in ("counts", "events")
}
ASKED: dict[str, Callable[[db.Ratings], object]] = {
    "descent": lambda table: db.GradientDescent(n_epochs=1).fit(db.DotBias(n_factors=2), table),
    "als": lambda table: db.ALS(n_iterations=1).fit(db.DotBias(n_factors=2), table),
    "gibbs": lambda table: db.Gibbs(n_samples=4, burn_in=1).fit(db.DotBias(n_factors=2), table),
    "ordinal": lambda table: db.Gibbs(likelihood="ordinal").sample(table),
    "baseline": lambda table: db.ClosedForm().fit(db.Baseline(), table),
    "convergence": lambda table: db.convergence(db.Gibbs(n_samples=8, burn_in=2), table),
    "finder": lambda table: db.lr_find(db.DotBias(n_factors=2), db.GradientDescent(), table),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", ASKED)
def test_there_are_no_stars_to_predict(asked: str, kind: str) -> None:
    with pytest.raises(
        SettingError, match=f"these are {kind}: there is nothing to predict in stars"
    ):
        ASKED[asked](KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_preferences_are_estimated(kind: str) -> None:
    rec = db.fit(KINDS[kind], db.DotProduct(n_factors=2), db.ImplicitALS(n_iterations=1))
    assert rec.facts.kind == rec.training_ratings().kind == kind
