"""The curvature of the loss where a fit has ended: stable rates, and whether it is a minimum."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.read import as_ratings
from dotbias.errors import DataError, SettingError
from dotbias.insight.divergence import divergence_rate
from dotbias.insight.spectrum import (
    Product,
    SpectralDensity,
    check_probes,
    eigenpairs,
    spectral_density,
)
from dotbias.models.base import Parameters, has_formula_of
from dotbias.models.dot_bias import DotBias
from dotbias.models.torch_extra import require_torch
from dotbias.progress import Progress, part, progress_bar
from dotbias.recommender.recommender import Recommender
from dotbias.shown import Part, Rows, Shown
from dotbias.solvers.decay import WeightDecay, row_counts
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD
from dotbias.tuning.lr_finder import lr_find

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source
    from dotbias.insight.loss_surface import LossSurface
    from dotbias.pictures import LinePicture, SurfacePicture

Floats = NDArray[np.float64]

_SLICE_POINTS = 15
_MAP_POINTS = 91
_RUN_STEPS = 200
# What takes how long, in products with a vector: one end of a spectrum where a few eigenvalues are asked
# for, the slice, and both rates.
_PRODUCTS, _SLICE_COST, _RATES_COST = 41, 75, 600
# Residual of the eigenvalues at each end, relative to the largest. The smallest stand close, and
# a tenth of it would cost three times the products.
_TOLERANCE = {"largest": 1e-3, "smallest": 1e-2}
# What is nearer to 0 than this share of the largest eigenvalue counts as flat: where embeddings can be
# rotated without a change, eigenvalues of 0 belong to it, and of what remains of the gradient a little
# below.
_FLAT = 1e-4
# Width of the bells of which the density is drawn, as a share of the spectrum.
_BELL = 0.01


@dataclass(frozen=True, eq=False)
class Slice(Shown):
    """The loss on the plane of the two steepest directions, in the middle of which the fit has ended.

    Args:
        x, y: steps along the first and the second eigenvector, in the solver's units, shape (n,).
        heights: the loss at ``heights[y, x]``, shape (n, n).
        eigenvalues: curvature along both at the middle.
        slopes: slope along both there.
    """

    x: Floats
    y: Floats
    heights: Floats
    eigenvalues: tuple[float, float]
    slopes: tuple[float, float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Curvature(Shown):
    """What the second derivatives say about a fit.

    The loss is the mean over the ratings of ``½ ((r̂ - r) / s)²`` plus the weight decay, with ``s`` the
    std of the ratings and parameters in the units in which gradient descent takes its steps
    (``DotBias.units``), so that rates compare; in evaluation mode, without dropout and masked ids.

    Args:
        model: its name.
        n_parameters, n_ratings: how many.
        loss: at the fitted parameters.
        gradient_norms: length of the gradient by group of parameters.
        largest: eigenvalues of the Hessian at the upper end, the largest first.
        smallest: at the lower end, the smallest first.
        gauss_newton_largest, gauss_newton_smallest: the same of the Gauss-Newton matrix.
        density: how the Hessian's eigenvalues are spread.
        slice: the loss along the two steepest directions.
        finder_rate: what ``lr_find`` suggests for plain full-batch descent; None if it was not asked,
            or suggests none.
        divergence_rate: the lowest rate at which full-batch descent from the fitted parameters was seen
            to diverge; None if it was not tried, or never did.
    """

    model: str
    n_parameters: int
    n_ratings: int
    loss: float
    gradient_norms: dict[str, float]
    largest: Floats
    smallest: Floats
    gauss_newton_largest: Floats
    gauss_newton_smallest: Floats
    density: SpectralDensity
    slice: Slice
    finder_rate: float | None = None
    divergence_rate: float | None = None

    @property
    def stable_rate(self) -> float | None:
        """``2 / λ_max``: above it, full-batch descent leaves the neighbourhood along the steepest
        direction. None where nothing curves upward.
        """
        top = float(self.largest[0])
        return 2 / top if top > 0 else None

    @property
    def is_minimum(self) -> bool:
        """Whether no direction was found in which the loss curves downward, by more than a
        ten-thousandth of the largest eigenvalue; the gradient apart.
        """
        return bool(self.smallest[0] >= -_FLAT * abs(self.largest[0]))

    def frame(self) -> pl.DataFrame:
        """All figures as a table: ``quantity``, ``value``."""
        rows: list[tuple[str, float | None]] = [("loss", self.loss)]
        rows += [(f"gradient norm, {name}", norm) for name, norm in self.gradient_norms.items()]
        ends = {
            "largest eigenvalue": self.largest,
            "smallest eigenvalue": self.smallest,
            "largest of Gauss-Newton": self.gauss_newton_largest,
            "smallest of Gauss-Newton": self.gauss_newton_smallest,
        }
        for name, values in ends.items():
            rows += [(f"{name} {n}", float(value)) for n, value in enumerate(values, 1)]
        rows += [
            ("mean eigenvalue", self.density.mean()),
            ("stable rate 2/largest", self.stable_rate),
            ("the finder's rate", self.finder_rate),
            ("diverges from the rate", self.divergence_rate),
        ]
        return pl.DataFrame(rows, {"quantity": pl.String, "value": pl.Float64}, orient="row")

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain data, for JSON."""
        return {
            "model": self.model,
            "n_parameters": self.n_parameters,
            "n_ratings": self.n_ratings,
            "loss": self.loss,
            "gradient_norms": self.gradient_norms,
            "hessian": {"largest": self.largest.tolist(), "smallest": self.smallest.tolist()},
            "gauss_newton": {
                "largest": self.gauss_newton_largest.tolist(),
                "smallest": self.gauss_newton_smallest.tolist(),
            },
            "mean_eigenvalue": self.density.mean(),
            "is_minimum": self.is_minimum,
            "rates": {
                "stable": self.stable_rate,
                "finder": self.finder_rate,
                "diverges": self.divergence_rate,
            },
            "density": {
                "eigenvalues": self.density.nodes.tolist(),
                "weights": self.density.weights.tolist(),
            },
            "slice": {
                "x": self.slice.x.tolist(),
                "y": self.slice.y.tolist(),
                "loss": self.slice.heights.tolist(),
            },
        }

    def __str__(self) -> str:
        norms = ", ".join(f"{name} {norm:.2g}" for name, norm in self.gradient_norms.items())
        lines = [
            f"{self.model}, {self.n_parameters:,} parameters, {self.n_ratings:,} ratings: "
            f"loss {self.loss:.4g}",
            f"gradient norm  {norms}",
            f"Hessian        {_ends(self.largest, self.smallest)}",
            f"Gauss-Newton   {_ends(self.gauss_newton_largest, self.gauss_newton_smallest)}",
            self.verdict,
        ]
        rates = {
            "2/largest": self.stable_rate,
            "the finder's": self.finder_rate,
            "diverges from": self.divergence_rate,
        }
        shown = [f"{name} {rate:.3g}" for name, rate in rates.items() if rate is not None]
        return "\n".join([*lines, f"rates          {', '.join(shown) or 'none'}"])

    def _parts(self) -> Iterable[Part]:
        yield f"{self.model}, {self.n_parameters:,} parameters, {self.n_ratings:,} ratings."
        yield self.verdict
        yield Rows(self.frame())

    @property
    def verdict(self) -> str:
        """One sentence: whether the loss curves downward anywhere."""
        if self.is_minimum:
            return "No direction was found in which the loss curves downward."
        below = int((self.smallest < 0).sum())
        return (
            f"Not a minimum: the smallest eigenvalue is negative ({below} of the {len(self.smallest)} "
            "found), and along its vector the loss curves downward."
        )

    def picture(self) -> "LinePicture":
        """The spectrum, and the loss along the two steepest directions."""
        from dotbias.pictures import Line, LinePicture, Mark, Panel

        ends = np.array([*self.density.nodes, *self.largest, *self.smallest])
        low, high = float(ends.min()), float(ends.max())
        width = _BELL * (high - low or 1.0)
        points = np.linspace(low - 4 * width, high + 4 * width, 600)
        density = self.density.smooth(points, width)
        # One eigenvalue alone has this height; what is far below is the foot of a bell.
        alone = 1 / (self.n_parameters * width * np.sqrt(2 * np.pi))
        spectrum = Panel(
            title="Eigenvalues of the Hessian",
            x_label="eigenvalue",
            y_label="density",
            lines=(Line(name="density", x=points, y=density),),
            marks=(
                Mark(x=float(self.smallest[0]), label=f"smallest {self.smallest[0]:.2g}"),
                Mark(x=float(self.largest[0]), label=f"largest {self.largest[0]:.2g}"),
            ),
            y_log=True,
            y_range=(min(0.1 * alone, 1e-3 * density.max()), 2 * float(density.max())),
        )
        middle, cut = _SLICE_POINTS // 2, self.slice
        sides = (
            ("steepest direction", cut.x, cut.heights[middle]),
            ("second direction", cut.y, cut.heights[:, middle]),
        )
        lines = []
        for n, (name, steps, losses) in enumerate(sides):
            fine = np.linspace(steps[0], steps[-1], 101)
            bowl = self.loss + cut.slopes[n] * fine + 0.5 * cut.eigenvalues[n] * fine**2
            lines += [
                Line(name=name, x=steps, y=losses),
                Line(name="slope and curvature alone", x=fine, y=bowl, faint=True),
            ]
        along = Panel(
            title="Loss along two eigenvectors",
            x_label="step, in the solver's units",
            y_label="loss",
            lines=tuple(lines),
        )
        return LinePicture(
            title=f"Curvature of {self.model}, {self.n_parameters:,} parameters",
            panels=(spectrum, along),
            note=f"{self.n_ratings:,} ratings. The density is a Lanczos estimate.",
        )

    def surface(self) -> "SurfacePicture":
        """The loss on the plane of the two steepest directions, as a map."""
        from scipy.interpolate import RectBivariateSpline

        from dotbias.pictures import SurfacePicture

        first, second = self.slice.eigenvalues
        x, y = (np.linspace(a[0], a[-1], _MAP_POINTS) for a in (self.slice.x, self.slice.y))
        measured = RectBivariateSpline(self.slice.y, self.slice.x, self.slice.heights)
        return SurfacePicture(
            title=f"Loss of {self.model} along two eigenvectors",
            x=x,
            y=y,
            heights=measured(y, x),
            paths={"where the fit ended": [(0.0, 0.0)]},
            note=f"Steps in the solver's units along the vectors of {first:.3g} (across) and "
            f"{second:.3g} (up). A spline through {len(self.slice.y)} by {len(self.slice.x)} points.",
        )


def _ends(largest: Floats, smallest: Floats) -> str:
    up, down = (", ".join(f"{value:.3g}" for value in values) for values in (largest, smallest))
    return f"largest {up}; smallest {down}"


def curvature(
    rec: Recommender,
    ratings: "Ratings | Source",
    solver: GradientDescent | None = None,
    *,
    n_eigenvalues: int = 3,
    n_probes: int = 2,
    n_steps: int = 40,
    find_rates: bool = False,
    seed: int = 0,
    progress: Progress = "auto",
) -> Curvature:
    """Second derivatives of the loss at a fitted model: eigenvalues, spectrum, and stable rates.

    Nothing larger than a few dozen rows of all parameters is kept: the Hessian is only ever multiplied
    by vectors. For its derivatives in full, and products of one's own, see ``loss_surface``.

    The largest eigenvalues are right to about four digits where they stand apart. The smallest are found
    less closely, and from above: what is reported as negative is.

    Args:
        rec: any fitted model that has a form in PyTorch: ``DotBias``, ``EmbeddingNet``, ``Network``.
        ratings: those that it was fitted to; others, if it knows all their users and items.
        solver: whose weight decay the loss contains, and whose threads it uses. None takes the decay
            that a ``DotBias`` says it was fitted with, and that of ``GradientDescent()`` for networks.
        n_eigenvalues: how many at each end, from 2.
        n_probes, n_steps: of the spectral density.
        find_rates: whether to ask the finder, which makes fits, and to find out at which rate full-batch
            descent from here diverges.
        seed: of all vectors that are drawn.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Raises:
        DataError: when the model does not know a user or item.
        SettingError: for a model without a form in PyTorch or one that does not say how it was shrunk,
            for numbers that make no sense, or when PyTorch is not installed.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=50, n_items=40, n_ratings=1000, seed=1)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=4))
    >>> found = curvature(rec, ratings)
    >>> bool(found.largest[0] > found.gauss_newton_smallest[0] > 0), found.is_minimum
    (True, False)
    """
    if n_eigenvalues < 2:
        raise SettingError(f"n_eigenvalues={n_eigenvalues!r} must be at least 2")
    check_probes(n_probes, n_steps)  # before the eigenvalues, which take long
    require_torch()
    ratings = _known(rec, as_ratings(ratings))
    surface = loss_surface(rec, ratings, solver)
    if n_eigenvalues >= surface.n_parameters:
        raise SettingError(
            f"n_eigenvalues={n_eigenvalues}: of {surface.n_parameters:,} parameters at most "
            f"{surface.n_parameters - 1:,} eigenvalues can be found at either end"
        )
    n_density = n_probes * n_steps
    total = 4 * _PRODUCTS + n_density + _SLICE_COST + find_rates * _RATES_COST

    @contextmanager
    def stage(name: str, cost: float, n_products: int = 1) -> Iterator[Callable[[], None]]:
        with part(cost), progress_bar(name, n_products, enabled=progress) as step:
            n = itertools.count(1)
            yield lambda: step(1, f"product {next(n)} with a vector")

    with _threads(solver), progress_bar("curvature", total, enabled=progress):

        def ends(product: Product, of: str) -> tuple[Floats, Floats, Floats]:
            find = partial(eigenpairs, product, surface.n_parameters, n_eigenvalues, seed=seed)
            with stage(f"largest eigenvalues of {of}", _PRODUCTS, _PRODUCTS) as on_product:
                largest, vectors = find(
                    "largest", tolerance=_TOLERANCE["largest"], on_product=on_product
                )
            with stage(f"smallest eigenvalues of {of}", _PRODUCTS, _PRODUCTS) as on_product:
                smallest, _ = find(
                    "smallest",
                    tolerance=_TOLERANCE["smallest"],
                    top=float(largest[0]),
                    on_product=on_product,
                )
            return largest, smallest, vectors

        loss = surface.loss()
        if not np.isfinite(loss):
            raise SettingError("the loss of this model on these ratings is not finite")
        largest, smallest, vectors = ends(surface.hvp, "the Hessian")
        gauss_newton = ends(surface.gnvp, "Gauss-Newton")
        with stage("density of the eigenvalues", n_density, n_density) as on_product:
            density = spectral_density(
                *(surface.hvp, surface.n_parameters, n_probes, n_steps),
                seed=seed,
                on_product=on_product,
            )
        with stage("slice", _SLICE_COST):
            cut = _slice(surface, loss, largest, vectors)
        groups = _groups(rec, surface)
        found = Curvature(
            model=type(rec.model).__name__,
            n_parameters=surface.n_parameters,
            n_ratings=len(ratings),
            loss=loss,
            gradient_norms=surface.gradient_norms(groups),
            largest=largest,
            smallest=smallest,
            gauss_newton_largest=gauss_newton[0],
            gauss_newton_smallest=gauss_newton[1],
            density=density,
            slice=cut,
        )
        if not find_rates:
            return found
        with part(_RATES_COST), progress_bar("rates", 2, enabled=progress) as advance:
            return _with_rates(found, rec, ratings, solver, surface, seed, advance, progress)


def loss_surface(
    rec: Recommender, ratings: Ratings, solver: GradientDescent | None = None
) -> "LossSurface":
    """The loss that ``curvature`` looks at: in the solver's units, weight decay included.

    Args:
        rec, ratings, solver: as for ``curvature``.
    """
    require_torch()
    from dotbias.insight.loss_surface import LossSurface

    ratings = _known(rec, ratings)
    if rec.model.scores == "preference":
        raise SettingError(
            f"{type(rec.model).__name__} was fitted to what people chose: the loss that curvature looks "
            "at is that of ratings"
        )
    module = rec.to_torch()
    n = len(ratings)
    if has_formula_of(rec.model, DotBias):
        decay = _decay_of(rec, ratings, solver).of_rows(row_counts(ratings))
        columns = {
            name: (row if rec.parameters[name].ndim == 1 else row[:, None]) / n
            for name, row in decay.items()
        }
        units = rec.model.units(ratings.std)
        return LossSurface(module, ratings, decay=columns, units=units)
    chosen = GradientDescent() if solver is None else solver
    return LossSurface(module, ratings, decay=_network_decay(module, ratings, chosen.decay))


def _known(rec: Recommender, ratings: Ratings) -> Ratings:
    """The ratings under the model's own indices."""
    columns = {}
    for noun in ("user", "item"):
        mine = getattr(rec, f"{noun}_vocabulary")
        theirs = getattr(ratings, f"{noun}_vocabulary")
        index = mine.indices(theirs.ids)
        if (index < 0).any():
            raise DataError(
                f"the model does not know the {noun} {theirs.ids[int(np.argmin(index))]!r}: "
                "curvature looks at ratings that it was fitted to"
            )
        columns[f"{noun}_indices"] = index[getattr(ratings, f"{noun}_indices")]
        columns[f"{noun}_vocabulary"] = mine
    return replace(ratings, features=None, **columns)


def _decay_of(rec: Recommender, ratings: Ratings, solver: GradientDescent | None) -> WeightDecay:
    """The weight decay of the solver, or the one that a ``DotBias`` was fitted with."""
    if solver is not None:
        return solver.decay
    p, model = rec.parameters, rec.model
    assert has_formula_of(model, DotBias)
    if not _is_decay(p):
        raise SettingError(
            "this model does not say which weight decay it was fitted with: give curvature the solver "
            "whose loss is meant, such as GradientDescent(), on the command line --weight-decay"
        )
    amounts = {}
    for group, unit in model.units(ratings.std).items():
        side, kind = group.split("_")
        precision = p[f"{side}_prior_precision"][0 if kind == "bias" else 1]
        amounts[group] = float(precision) * (unit / ratings.std) ** 2
    return WeightDecay(amounts, per="rating" if p["prior_per_rating"][0] else "row")


def _is_decay(parameters: Parameters) -> bool:
    """Whether rows were shrunk towards zero, each number by itself."""
    if "prior_per_rating" not in parameters:
        return False
    return all(
        parameters[f"{side}_prior_precision"].ndim == 1
        and not parameters[f"{side}_prior_mean"].any()
        for side in ("user", "item")
    )


def _network_decay(module: Any, ratings: Ratings, decay: WeightDecay) -> dict[str, Any]:
    """Weight decay of each parameter of a network in the mean over the ratings: that of a row of a table
    counts each time a rating looks it up.
    """
    torch = require_torch()
    from dotbias.solvers.descent.network_training import groups_of

    tables = {
        f"{n}.weight": m for n, m in module.named_modules() if isinstance(m, torch.nn.Embedding)
    }
    counts = {name: torch.zeros(table.num_embeddings) for name, table in tables.items()}

    def count(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def hook(_module: Any, inputs: tuple[Any, ...]) -> None:
            counts[name] += torch.bincount(inputs[0].ravel(), minlength=len(counts[name]))

        return hook

    hooks = [table.register_forward_pre_hook(count(name)) for name, table in tables.items()]
    users, items = (
        torch.from_numpy(a.astype(np.int64)) for a in (ratings.user_indices, ratings.item_indices)
    )
    with torch.no_grad():
        for start in range(0, len(ratings), 65_536):
            module(users[start : start + 65_536], items[start : start + 65_536])
    for hook in hooks:
        hook.remove()
    amounts = decay.of_network()
    result: dict[str, Any] = {}
    for name, group in groups_of(module).items():
        share = counts[name][:, None].numpy() / len(ratings) if name in counts else 1.0
        result[name] = amounts[group] * share
    return result


def _groups(rec: Recommender, surface: "LossSurface") -> Mapping[str, str]:
    if has_formula_of(rec.model, DotBias):
        return {name: name for name in surface.shapes}
    from dotbias.solvers.descent.network_training import groups_of

    return groups_of(surface.module)


def _slice(surface: "LossSurface", loss: float, values: Floats, vectors: Floats) -> Slice:
    """As far along both directions as their curvature alone would double the loss."""
    pair = vectors[:, 0], vectors[:, 1]
    curved = [max(abs(float(value)), 1e-12) for value in values[:2]]
    reach = [float(np.sqrt(2 * loss / value)) for value in curved]
    x, y, heights = surface.plane(pair, (reach[0], reach[1]), _SLICE_POINTS)
    gradient = surface.gradient()
    slopes = float(gradient @ pair[0]), float(gradient @ pair[1])
    return Slice(x, y, heights, (float(values[0]), float(values[1])), slopes)


def _with_rates(
    found: Curvature,
    rec: Recommender,
    ratings: Ratings,
    solver: GradientDescent | None,
    surface: "LossSurface",
    seed: int,
    advance: Callable[[float, str], None],
    progress: Progress,
) -> Curvature:
    """The same with the finder's rate and the one from which descent diverges."""
    plain = _plain(rec, ratings, solver)
    with part(1):
        suggested = lr_find(rec.model, plain, ratings, seed=seed, progress=progress).suggestion
    advance(0, "where descent diverges")
    first = None
    if found.stable_rate is not None:
        descend: Callable[[float], Iterator[float]] = surface.descend
        if has_formula_of(rec.model, DotBias):
            descend = _own_descent(rec, ratings, plain, surface)
        first = divergence_rate(descend, found.stable_rate, n_steps=_RUN_STEPS)
    return replace(found, finder_rate=suggested, divergence_rate=first)


def _plain(rec: Recommender, ratings: Ratings, solver: GradientDescent | None) -> GradientDescent:
    """Full-batch descent at a constant rate, with the weight decay of the loss."""
    given = GradientDescent() if solver is None else solver
    decay: WeightDecay = given.decay
    if has_formula_of(rec.model, DotBias):
        decay = _decay_of(rec, ratings, solver)
    return GradientDescent(
        SGD(),
        batch_size=None,
        schedule="constant",
        weight_decay=decay,
        n_threads=given.n_threads,
        n_epochs=given.settled(rec.model, ratings).n_epochs,
    )


def _own_descent(
    rec: Recommender, ratings: Ratings, plain: GradientDescent, surface: "LossSurface"
) -> Callable[[float], Iterator[float]]:
    """The compiled loop's full-batch descent from the fitted parameters: its mean squared errors."""
    from dotbias.solvers.descent.training import Training

    solver = replace(plain, rule=SGD(lr=1.0))
    assert has_formula_of(rec.model, DotBias)
    run = Training(solver, rec.model, ratings, dtype=np.float64)
    start = run.state()
    for name, value in surface.by_name(surface.w).items():
        start[f"value/{name}"] = value.reshape(start[f"value/{name}"].shape)

    def descend(rate: float) -> Iterator[float]:
        run.set_state(start)
        with run.threads(), np.errstate(all="ignore"):
            while True:
                yield float(run.step(np.array([rate]))[0])

    return descend


@contextmanager
def _threads(solver: GradientDescent | None) -> Iterator[None]:
    """PyTorch's threads: as many as the solver asks for, or one, which is rarely slower: the work is to
    move numbers through memory.
    """
    torch = require_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(1 if solver is None else solver.n_threads or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
