"""What a list of recommendations may be told on the command line."""

import json

import pytest

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
        (("--genre", "comdy"), 1, "Did you mean 'Comedy'? There are Comedy, Drama, War"),
        (("--exclude", "Casino"), 1, "unknown item 'Casino'"),
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


def test_a_user_is_named_as_in_the_model(run, model):
    for whom in (("--user", 1), ("--user", 1, "--user", 2), ("--all-users",)):
        listed = json.loads(run("recommend", model, *whom, "-k", 1, "--json").stdout)
        assert all(isinstance(row["user"], int) for row in listed)


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
