"""Records and settings to and from plain data."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from dotbias.errors import DataError
from dotbias.plain import from_plain, to_plain


@dataclass(frozen=True)
class Row:
    name: str
    x: float = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    n: int
    ok: bool = False
    kind: Literal["a", "b"] = "a"
    rows: tuple[Row, ...] = ()
    table: pl.DataFrame | None = field(default=None, metadata={"rows": Row})
    by_name: dict[str, list[float]] = field(default_factory=dict)
    text_or_more: dict[str, Any] | str | None = None
    anything: Any = None
    arrays: Any = field(default=None, metadata={"plain": False})
    rest: dict[str, Any] = field(default_factory=dict, metadata={"others": True})


def test_a_record_comes_back() -> None:
    record = Record(
        n=np.int64(3),
        ok=True,
        kind="b",
        rows=(Row("é", np.float32(0.25)),),
        table=pl.DataFrame({"name": ["q"], "x": [1.5]}),
        by_name={"z": [1, 2.5]},
        text_or_more={"deep": [{"er": None}]},
        anything=[True, 10**30],
        arrays=np.ones(3),
        rest={"note": {"seed": 1}},
    )
    data = json.loads(json.dumps(to_plain(record), allow_nan=False))
    assert data["note"] == {"seed": 1}
    assert data.keys().isdisjoint({"arrays", "rest"})
    back = from_plain(Record, data)
    assert back.table is not None
    assert back.table.equals(record.table)
    for name in ("n", "ok", "kind", "rows", "by_name", "text_or_more", "anything", "rest"):
        assert getattr(back, name) == getattr(record, name), name
    assert back.arrays is None


def test_what_is_missing_takes_its_default_and_what_is_unknown_is_left_out() -> None:
    back = from_plain(Record, {"n": 1, "rows": [{"name": "q", "colour": "red"}], "later": [1]})
    assert back.rows == (Row("q", 0.5),)
    assert (back.ok, back.kind, back.table) == (False, "a", None)
    assert back.rest == {"later": [1]}
    assert from_plain(Row, {"name": "x", "later": 1}) == Row("x")


def nested(depth: int) -> Any:
    data: Any = 0
    for _ in range(depth):
        data = [data]
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 1.0}, "r.n must be a whole number, not 1.0"),
        ({"n": True}, "r.n must be a whole number, not True"),
        ({"ok": 1}, "r.ok must be true or false, not 1"),
        ({"kind": "c"}, "r.kind must be one of 'a', 'b', not 'c'"),
        ({"kind": []}, "r.kind must be one of 'a', 'b', not []"),
        ({"rows": {}}, "r.rows must be a list, not {}"),
        (
            {"rows": [{"name": "q", "x": float("nan")}]},
            "r.rows[0].x must be a finite number, not nan",
        ),
        (
            {"rows": [{"name": "q", "x": 10**400}]},
            "r.rows[0].x must be a finite number, not so large",
        ),
        ({"rows": [{"x": 1.0}]}, "r.rows[0].name is missing"),
        ({"table": [{"name": 3}]}, "r.table[0].name must be text, not 3"),
        ({"by_name": {"z": [None]}}, "r.by_name.z[0] must be a number, not None"),
        ({"by_name": {"\ud800": []}}, "r.by_name must be text of whole characters"),
        ({"anything": {"x": [float("inf")]}}, "r.anything.x[0] must be a finite number, not inf"),
        ({"anything": nested(60)}, "is nested too deeply"),
        ({"text_or_more": 3}, "r.text_or_more must be a dictionary, not 3"),
        ({"later": float("nan")}, "r.later must be a finite number, not nan"),
    ],
)
def test_data_of_another_form_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        from_plain(Record, {"n": 1} | change, "r")
    with pytest.raises(DataError, match="r must be a dictionary"):
        from_plain(Record, [change], "r")


def test_a_type_that_no_record_may_have_is_a_fault_of_the_record() -> None:
    @dataclass(frozen=True)
    class Wrong:
        z: complex = 0j

    with pytest.raises(TypeError, match="no type of a record's field"):
        from_plain(Wrong, {"z": 1})
