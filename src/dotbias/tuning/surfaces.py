"""Update rules on surfaces of two dimensions, where one can watch them move.

The two coordinates are two parameters, and each rule moves them by the very function that is compiled
into training (see ``dotbias.solvers.descent.rules``), here in double precision and with the exact
gradient.
The pictures are in the manner of Ruder (2016), "An overview of gradient descent optimization
algorithms", arXiv 1609.04747, figure 4 (images 5 and 6 of its version on the web).
"""

import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.pictures import SurfacePicture
from dotbias.shown import Part, Rows, Shown
from dotbias.solvers.descent.kernels import RuleForm, steps_of
from dotbias.solvers.descent.rules import RULES, GroupRule, Rule, as_rule

Numbers: TypeAlias = NDArray[np.float64]

RATES: tuple[float, ...] = tuple((10.0 ** (np.arange(-16, 5) / 4)).tolist())
"""Learning rates that a race tries for each rule: 4 per decade, from 0.0001 to 10."""

_NEAR = 0.1  # distance at which the minimum counts as reached
_LEAP = 0.25  # length of a step that leaps over the surface, in frames
_MARGIN = 1.0  # how far beyond each side of the frame a path may go, in frames
_GRID = 301  # points along each side of a picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface(Shown):
    """A function of two coordinates to go down on.

    Args:
        name: what it is called.
        formula: the function as text.
        value: ``value(x, y)``, the height; takes numbers as well as NumPy arrays.
        gradient: ``gradient(x, y)``, the derivatives by ``x`` and by ``y``; likewise.
        start: where every rule begins.
        minimum: the lowest place; None where the surface falls without end, and rules are to escape.
        x_range: lowest and highest ``x`` of the frame that is looked at.
        y_range: lowest and highest ``y`` of the frame.
    """

    name: str
    formula: str
    value: Callable[[Any, Any], Any]
    gradient: Callable[[Any, Any], tuple[Any, Any]]
    start: tuple[float, float]
    minimum: tuple[float, float] | None
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def heights(self, places: Numbers) -> Numbers:
        """Heights (...,) of places (..., 2)."""
        return np.asarray(self.value(places[..., 0], places[..., 1]), float)

    def slopes(self, places: Numbers) -> Numbers:
        """Gradients (..., 2) at places (..., 2)."""
        slopes = np.empty_like(places)
        slopes[..., 0], slopes[..., 1] = self.gradient(places[..., 0], places[..., 1])
        return slopes

    def contains(self, places: Numbers, margin: float = 0) -> NDArray[np.bool_]:
        """Whether places (..., 2) lie in the frame, made wider by ``margin`` frames on every side."""
        low, high = np.transpose([self.x_range, self.y_range])
        room = margin * (high - low)
        inside = (places >= low - room) & (places <= high + room)
        return np.all(inside, axis=-1)  # type: ignore[no-any-return]


def _beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y * y) ** 2 + (2.625 - x + x * y * y * y) ** 2


def _beale_gradient(x: Any, y: Any) -> tuple[Any, Any]:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y * y, 2.625 - x + x * y * y * y
    by_x = 2 * (a * (y - 1) + b * (y * y - 1) + c * (y * y * y - 1))
    by_y = 2 * x * (a + 2 * b * y + 3 * c * y * y)
    return by_x, by_y


def _rosenbrock_gradient(x: Any, y: Any) -> tuple[Any, Any]:
    return 2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)


SURFACES: dict[str, Surface] = {
    surface.name: surface
    for surface in (
        # Beale (1958), "On an iterative method for finding a local minimum of a function of more than
        # one variable", Princeton; form and start as problem 5 of Moré, Garbow & Hillstrom (1981),
        # "Testing unconstrained optimization software", ACM TOMS 7(1). Ruder's figure 4a.
        Surface(
            name="beale",
            formula="(1.5 - x + xy)² + (2.25 - x + xy²)² + (2.625 - x + xy³)²",
            value=_beale,
            gradient=_beale_gradient,
            start=(1.0, 1.0),
            minimum=(3.0, 0.5),
            x_range=(0.0, 4.0),
            y_range=(-1.0, 1.5),
        ),
        # Rosenbrock (1960), "An automatic method for finding the greatest or least value of a
        # function", The Computer Journal 3(3), with its start.
        Surface(
            name="rosenbrock",
            formula="(1 - x)² + 100 (y - x²)²",
            value=lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
            gradient=_rosenbrock_gradient,
            start=(-1.2, 1.0),
            minimum=(1.0, 1.0),
            x_range=(-2.0, 2.0),
            y_range=(-1.0, 3.0),
        ),
        # A saddle as in Ruder's figure 4b, which falls far less than it rises: only so does it hold up
        # plain gradient descent at every rate. The start is a little beside the ridge.
        Surface(
            name="saddle",
            formula="y² - 0.05 x²",
            value=lambda x, y: y * y - 0.05 * x * x,
            gradient=lambda x, y: (-0.1 * x, 2 * y),
            start=(0.01, 0.8),
            minimum=None,
            x_range=(-1.5, 1.5),
            y_range=(-1.0, 1.0),
        ),
        # The textbook case for momentum, a quadratic 100 times as steep across as along. It runs askew:
        # along an axis, rules with a rate for each coordinate would not notice it.
        Surface(
            name="valley",
            formula="(x - y)² + 0.01 (x + y)²",
            value=lambda x, y: (x - y) ** 2 + 0.01 * (x + y) ** 2,
            gradient=lambda x, y: (
                2 * (x - y) + 0.02 * (x + y),
                2 * (y - x) + 0.02 * (x + y),
            ),
            start=(-2.5, -1.0),
            minimum=(0.0, 0.0),
            x_range=(-3.0, 1.0),
            y_range=(-3.0, 1.0),
        ),
    )
}
"""Every surface by its name."""


def descend(rule: Rule, surface: str | Surface, *, n_steps: int = 300, lr: float) -> Numbers:
    """The path of one rule down a surface.

    Args:
        rule: the rule; its own rates are not used.
        surface: a name in ``SURFACES``, or a surface of one's own.
        n_steps: number of steps.
        lr: the learning rate of both coordinates, at every step.

    Returns:
        (n_steps + 1, 2) places from the start on. A path stops for good where its next place would be
        beyond the frame by more than the frame's own size, or would have no finite height.

    Raises:
        SettingError: for an unknown surface, or an ``n_steps`` or ``lr`` outside its range.

    >>> from dotbias.solvers.descent.rules import Momentum
    >>> path = descend(Momentum(), "valley", lr=0.1)
    >>> path.shape, bool(np.abs(path[-1]).max() < 1e-3)
    ((301, 2), True)
    """
    rate = rule.with_rate(lr).top_rate
    return _descend(rule, _surface(surface), n_steps, np.array([rate]))[:, 0]


def _descend(rule: Rule, surface: Surface, n_steps: int, rates: Numbers) -> Numbers:
    """The paths (n_steps + 1, n_rates, 2) of a rule with several learning rates at once."""
    if not isinstance(n_steps, numbers.Integral) or n_steps < 1:
        raise SettingError(f"n_steps={n_steps!r}: n_steps must be a whole number at least 1")
    check_memory(n_steps * (2 * len(rates) + 4), f"n_steps={n_steps}", size=8)
    coefficients = rule.coefficient_table(np.arange(1.0, n_steps + 1))
    move = _move_kernel(
        RuleForm.of(type(rule)), coefficients.shape[1] + isinstance(rule, GroupRule)
    )
    paths = np.empty((n_steps + 1, len(rates), 2))
    paths[0] = surface.start
    state = np.zeros((rule.n_slots, len(rates), 1 if rule.per_row else 2))
    moving = np.full(len(rates), True)
    known = [rule.begin(place) if isinstance(rule, GroupRule) else () for place in paths[0]]
    for t in range(n_steps):
        here, there = paths[t], paths[t + 1]
        there[:] = here
        with np.errstate(all="ignore"):  # a surface of the user's may end, like a logarithm
            slopes = surface.slopes(here)
            moving &= np.isfinite(slopes).all(axis=1)
            c = np.array([[*coefficients[t], *group[:1]] for group in known])
            move(there, slopes, state, rates, c)
            if isinstance(rule, GroupRule):
                known = [rule.summed_up(g, state[:, [n]]) for n, g in enumerate(known)]
            moving &= surface.contains(there, _MARGIN) & np.isfinite(surface.heights(there))
        there[~moving] = here[~moving]
    return paths


@cache
def _move_kernel(form: RuleForm, n_coefficients: int) -> Callable[..., Any]:
    """One step of a rule, compiled: moves ``places`` (n_rates, 2) and changes ``state`` likewise.

    A place is a row to rules that look at rows, and a group to those that look at groups.
    """
    move_number, look, rate, _, by_row = steps_of(form)

    def move(places: Any, slopes: Any, state: Any, rates: Any, coefficients: Any) -> None:
        for row in range(len(places)):
            c: Any = to_fixed_tuple(coefficients[row], n_coefficients)  # type: ignore[call-arg]
            lr, sum_a, sum_b = rates[row], 0.0, 0.0
            if by_row:
                for axis in range(2):
                    a, b = look(places[row, axis], slopes[row, axis], 0.0, state, row, axis, c)
                    sum_a, sum_b = sum_a + a, sum_b + b
                lr = rate(sum_a, sum_b, 2.0, state, row, lr, c)
            for axis in range(2):
                place, slope = places[row, axis], slopes[row, axis]
                places[row, axis] = move_number(place, slope, 1.0, 0.0, state, row, axis, lr, c)

    return compiled(kept=form.is_ours)(move)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceRace(Shown):
    """The paths of several rules down one surface.

    Args:
        surface: the surface.
        rates: the learning rate of each rule that did best.
        paths: the path of each rule with that rate, (n_steps + 1, 2). ``adamw`` goes with ``adam``:
            they differ in weight decay, of which there is none here.
    """

    surface: Surface
    rates: dict[str, float]
    paths: dict[str, Numbers]

    def frame(self) -> pl.DataFrame:
        """One row for each rule.

        Returns:
            ``rule``; ``lr``, its learning rate; ``height`` at the end of its path; ``distance`` from
            there to the minimum, null where there is none; ``steps`` until it has come within 0.1 of
            the minimum or, where there is none, has left the frame below its start, null if it has not.
        """
        minimum = self.surface.minimum
        ends = np.array([path[-1] for path in self.paths.values()]).reshape(-1, 2)
        return pl.DataFrame(
            {
                "rule": list(self.paths),
                "lr": [self.rates[name] for name in self.paths],
                "height": self.surface.heights(ends).tolist(),
                "distance": [
                    None if minimum is None else float(np.linalg.norm(end - minimum))
                    for end in ends
                ],
                "steps": [_steps_to_goal(self.surface, path) for path in self.paths.values()],
            },
            schema={
                "rule": pl.String,
                "lr": pl.Float64,
                "height": pl.Float64,
                "distance": pl.Float64,
                "steps": pl.Int64,
            },
        )

    def _parts(self) -> Iterable[Part]:
        yield Rows(self.frame())

    def picture(self) -> SurfacePicture:
        """The paths on a map of the surface, to be saved as ``.png`` or, moving, as ``.html``."""
        x, y = (np.linspace(*ends, _GRID) for ends in (self.surface.x_range, self.surface.y_range))
        n_steps = max((len(path) - 1 for path in self.paths.values()), default=0)
        rates = ", ".join(f"{name} {rate:.2g}" for name, rate in self.rates.items())
        # Whoever looks for the line of the one should know that it lies below that of the other.
        both = {"adam", "adamw"} <= self.paths.keys()
        twins = " adamw goes with adam: nothing decays." if both else ""
        start = ", ".join(f"{coordinate:g}" for coordinate in self.surface.start)
        return SurfacePicture(
            title=f"{self.surface.name}: {self.surface.formula}",
            x=x,
            y=y,
            heights=self.surface.value(*np.meshgrid(x, y)),
            paths=self.paths,
            minimum=self.surface.minimum,
            note=f"{n_steps} steps from ({start}), each rule with the best of "
            f"{len(RATES)} rates from {RATES[0]:g} to {RATES[-1]:g}: {rates}.{twins}",
            order=tuple(RULES),
        )


def surface_race(
    surface: str | Surface, rules: Sequence[Rule | str] | None = None, *, n_steps: int = 300
) -> SurfaceRace:
    """Let rules go down a surface from the same start, each at its best learning rate.

    The survey's figures do not say at which rates they were drawn. Here each rule gets the best of
    ``RATES``: that with the lowest place at the end inside the frame or, where there is no minimum,
    that with the fastest escape. Rates at which the rule leaps, with a step from inside the frame that
    is longer than a quarter of it, count only if there is no other: a lucky throw is no descent.

    Args:
        surface: a name in ``SURFACES``, or a surface of one's own.
        rules: the rules, all of ``RULES`` if left out; their own rates are not used.
        n_steps: number of steps of each path.

    Raises:
        SettingError: for an unknown surface, two rules of the same name, or an ``n_steps`` outside its
            range.

    >>> from dotbias.solvers.descent.rules import SGD, Momentum
    >>> race = surface_race("valley", [SGD(), Momentum()])
    >>> race.frame().select("rule", "steps").rows()
    [('sgd', None), ('momentum', 33)]
    """
    surface = _surface(surface)
    named: dict[str, Rule] = {}
    for rule in map(as_rule, RULES if rules is None else rules):
        name = type(rule).__name__.lower()
        if name in named:
            raise SettingError(f"surface_race(rules): two rules are called {name!r}")
        named[name] = rule
    best = {name: _best(rule, surface, n_steps) for name, rule in named.items()}
    return SurfaceRace(
        surface=surface,
        rates={name: rate for name, (rate, _) in best.items()},
        paths={name: path for name, (_, path) in best.items()},
    )


def _best(rule: Rule, surface: Surface, n_steps: int) -> tuple[float, Numbers]:
    """The best of the rates for a rule, and its path."""
    paths = _descend(rule, surface, n_steps, np.array(RATES)).swapaxes(0, 1)
    _, lr, path = min(
        (_badness(surface, path), lr, path) for lr, path in zip(RATES, paths, strict=True)
    )
    return lr, path


def _badness(surface: Surface, path: Numbers) -> tuple[float, ...]:
    """What is to be small: first that the path does not leap, then how far it has come."""
    size = np.diff([surface.x_range, surface.y_range])[:, 0]
    lengths = np.linalg.norm(np.diff(path, axis=0) / size, axis=1)
    leaps = (lengths[surface.contains(path[:-1])] > _LEAP).any()
    height = float(surface.heights(path[-1]))
    if surface.minimum is None:
        steps = _steps_to_goal(surface, path)
        return leaps, np.inf if steps is None else steps, height
    return leaps, height if surface.contains(path[-1]) else np.inf


def _steps_to_goal(surface: Surface, path: Numbers) -> int | None:
    """Steps until the minimum is near or, where there is none, the frame is left downwards."""
    if surface.minimum is None:
        there = ~surface.contains(path) & (surface.heights(path) < surface.heights(path[0]))
    else:
        there = np.linalg.norm(path - surface.minimum, axis=1) <= _NEAR
    return int(there.argmax()) if there.any() else None


def _surface(surface: str | Surface) -> Surface:
    if isinstance(surface, Surface):
        return surface
    if surface not in SURFACES:
        known = ", ".join(map(repr, SURFACES))
        raise SettingError(f"surface={surface!r}: surface must be one of {known}")
    return SURFACES[surface]
