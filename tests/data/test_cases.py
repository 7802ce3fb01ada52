"""Small inputs in the forms that people have: each is read as what it is, and what was done is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dotbias.data.ratings import Ratings
from dotbias.data.read import read_ratings, read_ratings_with_report, read_titles
from dotbias.errors import DataError

Triples = set[tuple[Any, Any, float]]


def triples(ratings: Ratings) -> Triples:
    return {row[:3] for row in ratings.to_frame().rows()}


@pytest.fixture(scope="module")
def truth(cases: Path) -> Triples:
    return triples(read_ratings(cases / "truth.csv"))


def same(user: int, item: int, rating: float) -> tuple[Any, ...]:
    return user, item, rating


AS_TRUTH: dict[str, tuple[str, Callable[[int, int, float], Any]]] = {
    # file: what the notes or the one line say, and what a true triple has become
    "01_movielens.csv": ("userId = user, movieId = item, rating = rating, timestamp = time", same),
    "03_index_noheader.csv": ("column 1 numbers the rows", same),
    "08_combined_data_1.txt": ("lines such as 101: name the item", same),
    "10_wide_survey.csv": ("263 cells without a rating: 'N", lambda u, i, r: (u, f"Film {i}", r)),
    "15_epinions_ratings_data.txt": ("blank between columns", same),
    "15d_libmf.txt": ("blank between columns", lambda u, i, r: (u - 1, i - 101, r)),
    "20_excel_bom_semicolon.csv": ("semicolon between columns", same),
    "20b_excel_sep_line.csv": ("1 line skipped", same),
    "20c_excel_unicode_text.txt": ("utf-16", same),
    "21f_some_missing.csv": ("139 of 1,388 times are missing in column timestamp", same),
    "22a_leading_zeros.csv": ("user = user", lambda u, i, r: (f"{u:05d}", f"{i:08d}", r)),
    "22b_float_ids.csv": ("user = user", same),
    "22g_space_after_comma.csv": ("user = user, item = item, rating = rating", same),
    "23b_gbk.csv": ("read as gb18030", lambda u, i, r: (f"用户{u}", f"电影{i}", r)),
    "23e_cp1252_quotes.csv": ("read as Windows-1252", lambda u, i, r: (u, f"“Film {i}” \u2013 €", r)),
    "25_duplicates_time.csv": ("1,388 repeated (user, item) pairs: kept the last by time", same),
    "28a_5_stars.csv": ("ratings such as '", same),
    "39_recbole.inter": ("user_id:token = user", same),
    "54b_R_write_table.csv": ("the header is one column short", same),
    "70a_bom.jsonl": ("user = user", same),
    "70p_movie_and_id.csv": ("movie = title; passed over: movie", same),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_TRUTH)
def test_read_as_the_truth(cases: Path, truth: Triples, name: str) -> None:
    said, renamed = AS_TRUTH[name]
    ratings, report = read_ratings_with_report(cases / name)
    assert triples(ratings) == {renamed(*row) for row in truth}
    assert ratings.kind == "ratings"
    assert said in " | ".join([report.taken, *report.lines()])
    assert "1,388 ratings, 80 users, 50 items" in report.taken


# File, kind, ratings, users, items, what is said.
READ = [
    ("04_amazon2014_noheader.csv", "ratings", 1388, 80, 50, "column 1 = user, 2 = item, 3 = rating, 4"),
    ("04b_amazon2018_item_first.csv", "ratings", 1388, 50, 80, "2 = item, 3 = rating, 4 = time: 1,388"),
    ("05_amazon.json.gz", "ratings", 1388, 80, 50, "reviewerID = user, asin = item, overall = rating"),
    ("07_BX-Book-Ratings.csv", "ratings", 1128, 80, 50, "left out 260 rows with 0, which stands for no"),
    ("09_jester_wide.csv", "ratings", 1388, 80, 50, "column 1 counts the ratings of each row"),
    ("09_jester_wide.csv", "ratings", 1388, 80, 50, "with 99, which stands for no rating"),
    ("12b_goodreads_interactions.csv", "ratings", 937, 80, 50, "left out 451 rows with 0"),
    ("14_anime_rating.csv", "ratings", 719, 60, 38, "left out 669 rows with -1"),
    ("16_user_artists.dat", "counts", 1388, 80, 50, "column weight holds counts"),
    ("16b_lastfm360k.tsv", "counts", 1388, 80, 50, "column 4 holds counts"),
    ("17_steam-200k.csv", "counts", 1388, 80, 50, "column 3 tells play (937 rows), purchase"),
    ("17_steam-200k.csv", "counts", 1388, 80, 50, "are always 1 where purchase; pass where='3=play'"),
    ("19d_mixed_halves.csv", "ratings", 1388, 80, 50, "decimal comma"),
    ("31_constant5.csv", "events", 1388, 80, 50, "all ratings are 5, which leaves nothing to predict"),
    ("31c_ones_only.csv", "events", 625, 80, 49, "all ratings are 1"),
    ("32_pairs_only.csv", "events", 1388, 80, 50, "no column of ratings or counts"),
    ("58e_everyone_one_item.csv", "ratings", 1519, 81, 51, "user = user"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "n", "n_users", "n_items", "said"), READ)
def test_read(
    cases: Path, name: str, kind: str, n: int, n_users: int, n_items: int, said: str
) -> None:
    ratings, report = read_ratings_with_report(cases / name)
    assert (ratings.kind, len(ratings), ratings.n_users, ratings.n_items) == (
        kind,
        n,
        n_users,
        n_items,
    )
    assert said in " | ".join([report.taken, *report.lines()])


@pytest.mark.parametrize("name", [*AS_TRUTH, *dict.fromkeys(row[0] for row in READ)])
def test_what_was_found_can_be_given_back(cases: Path, name: str) -> None:
    first = read_ratings(cases / name)
    assert first.reading is not None
    again = read_ratings(cases / name, **first.reading)
    assert again.to_frame().equals(first.to_frame())
    assert (again.kind, again.reading) == (first.kind, first.reading)


def test_item_first(cases: Path) -> None:
    swapped = read_ratings(cases / "04b_amazon2018_item_first.csv", user=2, item=1)
    straight = read_ratings(cases / "04_amazon2014_noheader.csv")
    assert triples(swapped) == triples(straight)
    assert "0000000145" in straight.item_vocabulary.ids


def test_halves_with_a_decimal_comma(cases: Path) -> None:
    values = read_ratings(cases / "19d_mixed_halves.csv").values
    assert sorted(set(values.tolist())) == [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]


def test_null_ids_are_bad_rows_and_the_others_integers(cases: Path) -> None:
    path = cases / "34_null_ids.csv"
    with pytest.raises(
        DataError, match=r"row 2, column user: missing \(the first of 44 such rows\)"
    ):
        read_ratings(path)
    ratings, report = read_ratings_with_report(path, on_bad="skip")
    assert (len(ratings), report.n_bad) == (1344, 44)
    assert ratings.user_vocabulary.id_type == ratings.item_vocabulary.id_type == "integers"


def test_ids_of_a_later_file_are_what_they_are_in_the_model(cases: Path) -> None:
    model = read_ratings(cases / "04_amazon2014_noheader.csv")
    new = read_ratings(cases / "u" / "new_digits_only.csv", item_ids=model.item_vocabulary.id_type)
    assert new.item_vocabulary.ids.to_list() == ["1000000105", "1000000112"]
    assert (model.item_vocabulary.indices(new.item_vocabulary.ids) >= 0).all()


def test_titles(cases: Path) -> None:
    books = read_titles(cases / "07_BX-Books.csv")
    assert books.height == 50
    assert "Der \"Prinz\" von München" in books["title"].to_list()  # fmt: skip
    assert "Café n° 101" in books["title"].to_list()
    assert "Rock &amp; Roll; or not" in books["title"].to_list()
    netflix = read_titles(cases / "t" / "movie_titles.csv")
    assert netflix.rows()[:2] == [(101, "Film, the 101"), (102, "Film, the 102")]
    ratings = read_ratings(cases / "70p_movie_and_id.csv")
    at = int(ratings.item_vocabulary.indices([145])[0])
    assert ratings.item_vocabulary.label(at) == "Film 72"
