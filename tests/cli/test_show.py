import json

import polars as pl
import pytest

from dotbias.cli import show


def test_titles_stay_text(capsys):
    """A title in square brackets vanished when it was taken for markup."""
    table = pl.DataFrame({"item": [1, 2], "title": ["[REC] (2007)", "[bold]no[/bold]"]})
    show.frame(table, "Films")
    shown = capsys.readouterr().out
    assert "[REC] (2007)" in shown
    assert "[bold]no[/bold]" in shown


def test_a_column_of_nothing_is_left_out_for_people_only(capsys):
    table = pl.DataFrame({"item": [1], "title": pl.Series([None], dtype=pl.String)})
    show.frame(table, "")
    assert "title" not in capsys.readouterr().out
    show.frame(table, "", as_csv=True)
    assert capsys.readouterr().out == "item,title\n1,\n"
    show.frame(table, "", as_json=True)
    assert '"title": null' in capsys.readouterr().out


def test_what_json_has_no_number_for_is_null(capsys):
    """A model of NaN, and a rate at which nothing is finite, printed what no other program reads."""
    value = {"a": [1.5, float("nan"), (float("inf"), {"b": -float("inf")})], "c": "NaN", "d": True}
    show.data(value)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "a": [1.5, None, [None, {"b": None}]],
        "c": "NaN",
        "d": True,
    }


def test_the_commands_and_the_library_agree_on_what_is_rare():
    import inspect

    from dotbias.cli import using
    from dotbias.cli.listing import Listing
    from dotbias.recommender.recommender import MIN_RATINGS

    assert Listing().min_ratings == MIN_RATINGS
    for command in (using.similar, using.biases):
        assert inspect.signature(command).parameters["min_ratings"].default == MIN_RATINGS
