"""What a list of recommendations may be told on the command line."""

import json

import polars as pl
import pytest

from dotbias.data.write import write_parts

FILMS = 40
GENRES = ("Comedy", "Drama|War", "(no genres listed)")


@pytest.fixture(scope="module")
def model(run, workplace):
    folder = workplace / "films"
    folder.mkdir()
    films = [f"{n},Film {n:02} (1999),{GENRES[n % 3]}" for n in range(FILMS)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films, ""]))
    rated = [
        f"{user},{film},{1 + (7 * user + 3 * film) % 9 / 2}"
        for user in range(30)
        for film in range(FILMS)
        if (5 * user + film) % (2 + film // 3) == 0
    ]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating", *rated, ""]))
    how = "--solver", "als", "--factors", 3, "--iterations", 3, "--test-size", 0
    run("fit", folder, "-o", "films.dotbias", *how)
    return workplace / "films.dotbias"


@pytest.fixture(scope="module")
def films(run, model):
    """Ask for a list, and give the films on it."""

    def ask(*options):
        done = run("recommend", model, "--user", 1, "--min-ratings", 0, "--json", *options)
        return [row["item"] for row in json.loads(done.stdout)]

    return ask


def test_only_films_of_some_genre_are_listed(films):
    every = films("-k", FILMS)
    comedies = films("-k", FILMS, "--genre", "comedy")
    assert comedies == [film for film in every if film % 3 == 0]
    both = films("-k", FILMS, "--genre", "WAR", "--genre", "Comedy")
    assert both == [film for film in every if film % 3 < 2]


def test_what_is_excluded_is_not_listed(films):
    first, second, third, *_ = films()
    listed = films("--exclude", first, "--exclude", f"Film {third:02}", "-k", FILMS)
    assert listed == [film for film in films("-k", FILMS) if film not in (first, third)]
    assert films("--candidate", first, "--candidate", second, "--exclude", first) == [second]


def test_lists_of_hidden_and_of_well_known_films(films):
    """The lower the number of a film here, the more people have rated it."""
    hidden, plain, known = (sum(films("--well-known", w)) for w in ("-1", "0", "1"))
    assert known < plain < hidden
    assert films("--well-known", 0, "--diversity", 0) == films()


def test_a_diverse_list_begins_alike_and_goes_on_otherwise(films):
    diverse = films("--diversity", 0.8)
    assert diverse[0] == films()[0]
    assert diverse != films()


def test_someone_new_can_ask_for_the_same(run, model, workplace, films):
    (workplace / "mine.csv").write_text("item,rating\n3,5\n4,1\n")
    how = "--genre", "comedy", "--exclude", 6, "--well-known", -0.5, "--diversity", 0.2, "--json"
    done = run("recommend", model, "--for-ratings", "mine.csv", "-k", FILMS, *how)
    listed = {row["item"] for row in json.loads(done.stdout)}
    comedies = films("-k", FILMS, "--genre", "comedy", "--include-rated")
    assert listed == set(comedies) - {3, 6}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--genre", "comdy"), 1, "there are Comedy, Drama, War; did you mean 'Comedy'?"),
        (("--exclude", "Casino", "--strict"), 1, "unknown item 'Casino'"),
        (("--candidate", "Film"), 1, "'Film' matches 35 titles"),
        (("--well-known", "1.5"), 2, "--well-known"),
        (("--diversity", "-1"), 2, "--diversity"),
    ],
)
def test_mistakes_are_named(run, model, options, code, message):
    done = run("recommend", model, "--user", 1, *options, code=code)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_list_that_ends_early_says_so(run, model, films):
    first, second, *_ = films()
    how = "recommend", model, "--min-ratings", 0, "--candidate", first, "--candidate", second
    done = run(*how, "--user", 1, "--exclude", first, "--exclude", second)
    assert "No item is left for the list: with candidates and exclude there is none" in " ".join(
        done.stderr.split()
    )
    assert "No more items" not in run(*how, "--user", 1, "-k", 2).stderr
    others = run(*how, "--user", 1, "--user", 2, "--exclude", first, "-k", 2)
    assert "No more items are left for the lists of 2 users" in others.stderr


def test_whoever_is_unknown_gets_what_suits_most(run, model, workplace):
    """One unknown user was an error, and one among several was not."""
    asked = ("recommend", model, "--user", "nobody", "-k", 3)
    one = run(*asked, "--json")
    rows = json.loads(one.stdout)
    assert [row["basis"] for row in rows] == ["item"] * 3
    assert "unknown user 'nobody': not among the" in one.stderr
    several = json.loads(run(*asked, "--user", 1, "--json").stdout)
    assert [row | {"user": None} for row in several[:3]] == [row | {"user": None} for row in rows]
    assert "basis" in run(*asked).stdout
    assert "basis" not in run("recommend", model, "--user", 1).stdout
    for strict in (asked, ("predict", model, "--user", 1, "--item", "x"), ("similar", model, "x")):
        assert "unknown" in run(*strict).stderr
        assert "Error: " in run(*strict, "--strict", code=1).stderr
    (workplace / "asked.csv").write_text("user,item\n1,3\n99,3\n")
    done = run("predict", model, "asked.csv", "--json")
    assert [row["basis"] for row in json.loads(done.stdout)] == ["both", "item"]
    assert "1 of 2 users are unknown: 99" in done.stderr
    assert "1 of 2 users" in run("predict", model, "asked.csv", "--strict", code=1).stderr


def test_whoever_has_rated_everything_is_told_so(run, cases):
    """Case 58e: an empty table, and not a word."""
    run("fit", cases / "58e_everyone_one_item.csv", "-o", "everyone.dotbias", "--model", "baseline")
    done = run("recommend", "everyone.dotbias", "--user", 500)
    assert "No item is left for the list: all 51 items have been rated" in done.stderr
    assert "--include-rated" in done.stderr
    assert run("recommend", "everyone.dotbias", "--user", 500, "--json").stdout.strip() == "[]"
    assert (
        run("recommend", "everyone.dotbias", "--user", 500, "--include-rated").stdout.count("\n")
        > 9
    )


def test_a_user_is_named_as_in_the_model(run, model):
    for whom in (("--user", 1), ("--user", 1, "--user", 2), ("--all-users",)):
        listed = json.loads(run("recommend", model, *whom, "-k", 1, "--json").stdout)
        assert all(isinstance(row["user"], int) for row in listed)


def test_lists_of_all_users_may_be_a_folder(run, model, workplace, monkeypatch):
    whole = run("recommend", model, "--all-users", "-k", 3, "-o", "whole.parquet").stderr
    for n_users in (7, 100_000):
        monkeypatch.setattr("dotbias.cli.using._AT_A_TIME", n_users)
        told = run("recommend", model, "--all-users", "-k", 3, "-o", "lists/").stderr
        assert told.replace(" lists.", " whole.parquet.") == whole
        table = pl.read_parquet(workplace / "whole.parquet")
        assert pl.read_parquet(workplace / "lists").equals(table)
        parts = sorted(path.name for path in (workplace / "lists").iterdir())
        assert parts == [
            f"part-{n:05d}.parquet" for n in range(-(-table["user"].n_unique() // n_users))
        ]
    (workplace / "lists" / "notes.txt").write_text("mine")
    refused = run("recommend", model, "--all-users", "-o", "lists", code=1).stderr
    assert "holds more than a folder of lists" in " ".join(refused.split())
    assert (
        "must end in .csv or .parquet"
        in run("recommend", model, "--user", 1, "-o", "some", code=1).stderr
    )


def test_a_folder_of_lists_is_whole_or_not_there(tmp_path):
    def failing():
        yield pl.DataFrame({"user": [1]})
        raise ValueError("no more")

    for before in (0, 1):
        if before:
            assert write_parts([pl.DataFrame({"user": [7]})] * 2, tmp_path / "lists") == 2
        with pytest.raises(ValueError, match="no more"):
            write_parts(failing(), tmp_path / "lists")
        assert len(list(tmp_path.iterdir())) == before
    assert pl.read_parquet(tmp_path / "lists")["user"].to_list() == [7, 7]


@pytest.mark.parametrize(
    ("table", "how", "kind"),
    [
        ("item\n3\n4\n", (), "events"),
        ("item,plays\n3,5\n4,2\n", (), "counts"),
        ("item,rating\n3,5\n4,2\n", ("--kind", "events"), "events"),
    ],
)
def test_what_was_chosen_does_not_pass_for_stars(run, model, workplace, table, how, kind):
    (workplace / "chosen.csv").write_text(table)
    for asked in (("recommend", model), ("explain", model, "--item", 5)):
        done = run(*asked, "--for-ratings", "chosen.csv", *how, code=1)
        expected = (
            f"chosen.csv: these are {kind}, and the model was fitted to ratings: add a column"
        )
        assert expected in " ".join(done.stderr.split())
