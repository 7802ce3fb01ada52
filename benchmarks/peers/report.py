"""Tables, sentences and pictures of what was found. Nothing in them is written by hand."""

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

import sets
from claims import MAIN, Row, Standing, by_error, by_time, ratio, rows, standing
from contestants import contestants
from machine import QUIET
from records import Record, Records

DEFAULT = "dotbias"
"""The row that sentences are about."""
NAMES = {"rmse": "RMSE", "ndcg": "nDCG@10", "liked": "liked"}
SHOWN = {"ratings": ("rmse",), "rankings": ("ndcg", "liked")}
LEAST_REPEATS = 3


class Unfinished(Exception):
    """There is not enough to say anything."""


@dataclass
class Report:
    """What a file of records says.

    Args:
        runs: protocol and machine of each.
        rows: of all fits.
        missing: why libraries are not there.
        tries: how many settings were tried, by task, set, method and split.
        failures: why the last try failed, by task, set and method.
    """

    runs: list[Record]
    rows: list[Row]
    missing: dict[str, str]
    tries: Counter[tuple[str, ...]]
    failures: dict[tuple[str, ...], str]

    @classmethod
    def of(cls, records: Records, quiet: float = QUIET) -> "Report":
        runs = list(records.all("run"))
        if not runs:
            raise Unfinished(f"{records.path} has no run: `run` makes one")
        ours = {(c.task, c.name) for t in MAIN for c in contestants(t)}
        found = [r for r in rows(records.all("fit"), quiet) if (r.task, r.method) in ours]
        last = {record["library"]: record for record in records.all("environment")}
        missing = {name: record["reason"] for name, record in last.items() if record["reason"]}
        tries, failures = Counter[tuple[str, ...]](), {}
        for record in records.all("try"):
            which = record["task"], record["set"], record["method"]
            tries[*which, record["split"]] += 1
            failures[which] = record.get("failed", "")
        return cls(runs, found, missing, tries, failures)

    def of_set(self, task: str, name: str, threads: int | None = None) -> list[Row]:
        return [
            row
            for row in self.rows
            if (row.task, row.name) == (task, name) and threads in (None, row.threads)
        ]

    def sets(self, task: str) -> list[str]:
        return list(dict.fromkeys(row.name for row in self.rows if row.task == task))

    def protocol(self, task: str, name: str) -> Record:
        """What the last run of a set was told: tries, repeats, limits."""
        last = max(run for row in self.of_set(task, name) for run in row.runs)
        protocol: Record = self.runs[last]["protocol"]
        return protocol

    def repeats(self, row: Row) -> int:
        """How often each split is fitted: once where that took long."""
        protocol = self.protocol(row.task, row.name)
        return 1 if row.first > protocol.get("enough", math.inf) else int(protocol["repeats"])

    def complete(self, row: Row) -> bool:
        return row.complete(sets.labels(row.task, row.name), self.repeats(row))

    def timed(self, row: Row) -> bool:
        return row.timed(sets.labels(row.task, row.name), self.repeats(row))

    # -- tables ------------------------------------------------------------------------------------

    def table(self, task: str, name: str) -> str:
        """Markdown: a line for each method, the most accurate first."""
        figures = SHOWN[task]
        by_method: dict[str, dict[int, Row]] = {}
        for row in self.of_set(task, name):
            by_method.setdefault(row.method, {})[row.threads] = row
        threads = sorted({row.threads for row in self.of_set(task, name)})
        heads = ["", *(NAMES[f] for f in figures)]
        heads += [f"fit, {_threads(n)}" for n in threads]
        heads += [f"at or below it, {_threads(n)}" for n in threads]
        lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        sign = 1 if MAIN[task] == "rmse" else -1

        def order(of: dict[int, Row]) -> float:
            one = of[min(of)]
            return sign * one.mean(MAIN[task]) if one.figures else math.inf

        for method, of in sorted(by_method.items(), key=lambda pair: order(pair[1])):
            first = of[min(of)]
            label = f"**{method}**" if first.library == "dotbias" else method
            cells = [label, *(self._figure(first, f) for f in figures)]
            cells += [self._time(of.get(n)) for n in threads]
            cells += [self._standing(of.get(n)) for n in threads]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _figure(self, row: Row, figure: str) -> str:
        if not row.figures:
            return row.failed or "failed"
        spread = row.spread(figure)
        digits = 4 if figure == "rmse" else 3
        told = f"{row.mean(figure):.{digits}f}"
        told += "" if math.isnan(spread) else f" ± {spread:.{digits}f}"
        lacks = "" if self.complete(row) else f" (of {len(row.splits)})"
        return told + lacks

    def _time(self, row: Row | None) -> str:
        if row is None or not row.figures:
            return ""
        if not row.seconds:
            return "not quiet"
        lacks = " (partly)"
        if self.timed(row):
            lacks = " (once)" if self.repeats(row) == 1 else ""
        return f"{row.median:.3g} s{lacks}"

    def _standing(self, row: Row | None) -> str:
        if row is None or row.library == "dotbias" or not row.figures:
            return ""
        return str(self.standing(row))

    def hasty(self, task: str, name: str) -> list[str]:
        """Methods of which fewer settings were tried than asked for, as they took long: how many."""
        asked, told = self.protocol(task, name)["tries"], []
        fitted = {row.method for row in self.of_set(task, name)}
        for one in (c for c in contestants(task) if c.name in fitted):
            of_splits = [self.tries[task, name, one.name, s] for s in sets.labels(task, name)]
            if any(of_splits) and min(of_splits) < one.n_tries(asked):
                least, most = min(of_splits), max(of_splits)
                told.append(f"{one.name} ({least}{f' to {most}' * (most > least)})")
        return told

    def untimed(self, task: str, name: str) -> list[str]:
        """Peers of which settings were tried and nothing is fitted, and why."""
        fitted = {row.method for row in self.of_set(task, name)}
        return [
            f"{one.name} ({self.failures[task, name, one.name] or 'no timed fits'})"
            for one in contestants(task)
            if one.library != "dotbias" and one.name not in fitted
            if (task, name, one.name) in self.failures
        ]

    def standing(self, peer: Row) -> Standing:
        ours = [
            r for r in self.of_set(peer.task, peer.name, peer.threads) if r.library == "dotbias"
        ]
        return standing(peer, ours)

    # -- sentences ---------------------------------------------------------------------------------

    def sentences(self, task: str, name: str, threads: int = 1) -> str:
        """What can be claimed of the default beside each peer, and what cannot."""
        all_rows = self.of_set(task, name, threads)
        ours = next((r for r in all_rows if r.method == DEFAULT and self.complete(r)), None)
        if ours is None:
            raise Unfinished(f"{name}, {task}: the default lacks repeats")
        figure = MAIN[task]
        errors: dict[str, list[str]] = {"better": [], "tie": [], "worse": []}
        times: dict[str, list[str]] = {"better": [], "tie": [], "worse": []}
        left_out, digits = [], 4 if figure == "rmse" else 3
        for peer in (row for row in all_rows if row.library != "dotbias"):
            if not self.complete(peer):
                left_out.append(f"{peer.method} ({peer.failed or 'repeats lack'})")
                continue
            of_error = by_error(ours, peer, figure)
            errors[of_error].append(f"{peer.method} ({peer.mean(figure):.{digits}f})")
            if not (self.timed(ours) and self.timed(peer)):
                continue
            of_time = by_time(ours, peer)
            times_as_long = ratio(peer, ours) if of_time == "better" else ratio(ours, peer)
            factor = f"{times_as_long:.1f}" if times_as_long < 100 else f"{times_as_long:,.0f}"
            told = "" if of_time == "tie" else f" ({factor} times)"
            times[of_time].append(f"{peer.method}{told}")
        n = len(ours.splits)
        best = "a lower error" if figure == "rmse" else "better lists"
        not_best = "a higher error" if figure == "rmse" else "worse lists"
        said = [
            f"{name}, {n} split{'s' * (n > 1)}, {_threads(threads)}: the default has "
            f"{NAMES[figure]} {ours.mean(figure):.{digits}f}"
            + (f" in {ours.median:.3g} s." if self.timed(ours) else ".")
        ]
        for word, told in (("better", best), ("tie", "a tie"), ("worse", not_best)):
            if errors[word]:
                joint = "with" if word == "tie" else "than"
                said.append(f"It has {told} {joint} {_listed(errors[word])}.")
        for word, told in (("better", "less time than"), ("worse", "more time than")):
            if times[word]:
                said.append(f"It takes {told} {_listed(times[word])}.")
        if times["tie"]:
            said.append(f"Its time is a tie with {_listed(times['tie'])}.")
        if not any(times.values()):
            said.append("No time is compared: the machine was not quiet throughout.")
        left_out += self.untimed(task, name)
        if left_out:
            said.append(f"Not compared: {_listed(left_out)}.")
        if few := self.hasty(task, name):
            said.append(f"Time was up before all settings were tried of {_listed(few)}.")
        return " ".join(said)

    def summary(self, task: str, names: Sequence[str], threads: int = 1) -> str:
        """The same of all sets in a few words."""
        tries = sorted({self.protocol(task, name)["tries"] for name in names})
        many = _listed(tries, "or")
        said = [f"Beside other libraries, {many} tries of settings each:"]
        of_sets = []
        for name in names:
            all_rows = [r for r in self.of_set(task, name, threads) if self.complete(r)]
            ours = next(r for r in all_rows if r.method == DEFAULT)
            peers = [row for row in all_rows if row.library != "dotbias"]
            words = {row.method: by_error(ours, row, MAIN[task]) for row in peers}
            parts = [f"better than {sum(w == 'better' for w in words.values())} of {len(peers)}"]
            for word, told in (("tie", "a tie with"), ("worse", "worse than")):
                who = [method for method, w in words.items() if w == word]
                parts += [f"{told} {_listed(who)}"] if who else []
            ahead = [r.method for r in peers if self.standing(r).how == "not"]
            beside = "no one of them is ahead of dotbias in both error and time"
            if ahead:
                beside = (
                    f"no point of dotbias is at or below {_listed(ahead)} in both error and time"
                )
            timed = all(self.timed(row) for row in all_rows)
            of_sets.append(f"{name}: {', '.join(parts)}" + (f", and {beside}" if timed else ""))
        return f"{said[0]} the default is, on {'; on '.join(of_sets)}."

    # -- documents ---------------------------------------------------------------------------------

    def blocks(self) -> dict[str, str]:
        """What the markers of documents are filled with, by name.

        Raises:
            Unfinished: where too few repeats were asked for.
        """
        for task in MAIN:
            for name in self.sets(task):
                repeats = self.protocol(task, name)["repeats"]
                if repeats < LEAST_REPEATS:
                    few = f"{name}, {task}: {repeats} repeats carry no claim: at least"
                    raise Unfinished(f"{few} {LEAST_REPEATS}")
        found = {"machine": _wrapped(self.described())}
        for task in MAIN:
            names = [
                n
                for n in self.sets(task)
                if any(r.method == DEFAULT and self.complete(r) for r in self.of_set(task, n, 1))
            ]
            if names:
                tables = [f"**{name}**\n\n{self.table(task, name)}" for name in names]
                found[f"{task} tables"] = "\n\n".join(tables)
                claims = (_wrapped(self.sentences(task, name)) for name in names)
                found[f"{task} claims"] = "\n\n".join(claims)
                found[f"{task} summary"] = _wrapped(self.summary(task, names))
        return found

    def described(self) -> str:
        """The machines, the protocols, and who is not there."""
        alike: dict[tuple[str, str], list[str]] = {}
        for task in MAIN:
            for name in self.sets(task):
                runs = {run for row in self.of_set(task, name) for run in row.runs}
                how = _run_in_words([self.runs[run] for run in sorted(runs)])
                alike.setdefault((task, how), []).append(name)
        told = " ".join(
            f"{task.capitalize()} of {_listed(names)}: {how}."
            for (task, how), names in alike.items()
        )
        absent = "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())
        return told + (f" Not installed: {absent}." if absent else "")


def _run_in_words(runs: Sequence[Record]) -> str:
    """When, on which machines, and how, of the runs of a set."""
    dates = [run["machine"]["date"].split()[0] for run in runs]
    machines = dict.fromkeys(_machine_in_words(run["machine"]) for run in runs)
    p = runs[-1]["protocol"]
    days = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    tries = "the settings of each library" if p["tries"] == 1 else f"{p['tries']} tries of settings"
    once = f" (one where that takes more than {p['enough']:g} s)" if "enough" in p else ""
    return (
        f"{days}, {' and '.join(machines)}; {tries}, {p['repeats']} repeats of all splits{once}, at "
        f"most {p['limit']:g} s for a fit"
    )


def _machine_in_words(m: Record) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']:g} GiB, {m['system']}, Python {m['python']}, "
        f"{versions}"
    )


BLOCKS = (
    "machine",
    *(f"{task} {what}" for task in MAIN for what in ("claims", "summary", "tables")),
)


def write_into(path: Path, blocks: dict[str, str]) -> list[str]:
    """Fill the markers ``<!-- peers: NAME -->`` ... ``<!-- end of peers -->`` of a document. One of
    which nothing is known yet stays as it is.

    Returns:
        the names of the blocks that were filled.

    Raises:
        Unfinished: where it has no markers, or others than these.
    """
    text, end = path.read_text("utf-8"), "<!-- end of peers -->"
    out, *parts = text.split("<!-- peers: ")
    if not parts:
        raise Unfinished(f"{path} has no <!-- peers: … --> to fill")
    filled = []
    for part in parts:
        name, _, rest = part.partition(" -->")
        old, found, after = rest.partition(end)
        if not found:
            raise Unfinished(f"{path}: nothing ends <!-- peers: {name} -->")
        if name not in BLOCKS:
            raise Unfinished(f"{path} asks for {name!r}; there are {', '.join(BLOCKS)}")
        inside = f"\n{blocks[name]}\n" if name in blocks else old
        filled += [name] if name in blocks else []
        out += f"<!-- peers: {name} -->{inside}{end}{after}"
    half_way = path.with_suffix(".part")
    half_way.write_text(out, "utf-8")
    half_way.replace(path)
    return filled


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 115, break_on_hyphens=False, break_long_words=False)


def _threads(n: int) -> str:
    return {1: "one thread", 2: "two threads"}.get(n, f"{n} threads")


def _listed(names: Sequence[object], last: str = "and") -> str:
    *first, end = map(str, names)
    return f"{', '.join(first)} {last} {end}" if first else end


# -- pictures ----------------------------------------------------------------------------------------


def draw(report: Report, task: str, name: str, threads: int, path: Path, note: str = "") -> None:
    """Error against seconds of fit: dotbias's curve, its other rows, and the peers as numbered points.

    Bars are standard deviations over the splits, and the range of the splits' times.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure = MAIN[task]
    all_rows = [r for r in report.of_set(task, name, threads) if r.figures and r.seconds]
    if not all_rows:
        raise Unfinished(f"{name}, {task}, {_threads(threads)}: nothing to draw")
    points = {c.name for c in contestants(task) if c.point}
    sign = 1 if figure == "rmse" else -1
    all_rows.sort(key=lambda row: sign * row.mean(figure))
    curve = sorted((r for r in all_rows if r.method in points), key=lambda row: row.median)
    rest = [row for row in all_rows if row.method not in points]
    fig, (ax, legend) = plt.subplots(
        1, 2, figsize=(11, 6), width_ratios=(3, 1.3), layout="constrained"
    )
    ours, theirs = "#1f6feb", "#57606a"
    best: list[Row] = []  # who waits longer has the shorter fits too
    for row in curve:
        if not best or sign * row.mean(figure) < sign * best[-1].mean(figure):
            best.append(row)
    ax.plot([r.median for r in best], [r.mean(figure) for r in best], "-", color=ours, lw=1.5)
    ax.plot([r.median for r in curve], [r.mean(figure) for r in curve], "o", color=ours, ms=4)
    for letter, row in zip(ascii_lowercase, curve, strict=False):
        place = {"textcoords": "offset points", "xytext": (0, 6), "fontsize": 7.5, "color": ours}
        ax.annotate(letter, (row.median, row.mean(figure)), ha="center", **place)
    for at, row in enumerate(rest, 1):
        color = ours if row.library == "dotbias" else theirs
        x, y, times = row.median, row.mean(figure), list(row.medians.values())
        spread = 0.0 if math.isnan(row.spread(figure)) else row.spread(figure)
        bars = [[max(0, x - min(times))], [max(0, max(times) - x)]]
        ax.errorbar(x, y, spread, bars, color=color, alpha=0.35, lw=1)
        ax.plot([x], [y], "o", color="white", mec=color, ms=13)
        ax.text(x, y, str(at), ha="center", va="center", fontsize=7.5, color=color)
    ax.set_xscale("log")
    if sign < 0:
        low = min((r.mean(figure) for r in all_rows), default=0)
        ax.set_ylim(bottom=max(0, low - 0.02))
    ax.set_xlabel(f"seconds of the fit, {_threads(threads)}")
    ax.set_ylabel(f"held-out {NAMES[figure]}")
    n = len(all_rows[0].splits)
    ax.set_title(f"{name}, {n} split{'s' * (n > 1)}{note}", loc="left", fontsize=11)
    ax.grid(alpha=0.25)
    legend.axis("off")
    digits = 4 if sign > 0 else 3
    lines = [
        (f"{at:>2}  {row.method}  {row.mean(figure):.{digits}f}", row.library == "dotbias")
        for at, row in enumerate(rest, 1)
    ]
    lines += [("", True), ("—o—  dotbias over its budget", True)] if curve else []
    for letter, row in zip(ascii_lowercase, curve, strict=False):
        of_curve = f"{row.method.removeprefix('dotbias, ')}  {row.mean(figure):.{digits}f}"
        lines.append((f" {letter}  {of_curve}", True))
    step = min(0.045, 1 / len(lines))
    for at, (told, own) in enumerate(lines, 1):
        how = {"fontsize": 8.5, "color": ours if own else theirs, "va": "bottom"}
        legend.text(0, 1 - step * at, told, transform=legend.transAxes, **how)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def tables(report: Report, tasks: Iterable[str]) -> str:
    """All of them, with the sentences that they carry."""
    parts = [report.described()]
    for task in tasks:
        for name in report.sets(task):
            parts.append(f"## {name}, {task}\n\n{report.table(task, name)}")
            try:
                parts.append(report.sentences(task, name))
            except Unfinished as reason:
                parts.append(f"No claim: {reason}.")
    return "\n\n".join(parts)
