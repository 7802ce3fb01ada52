"""The table between raw ids and indices, against sorted sets and dictionaries."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.data.vocabulary import Vocabulary, as_ids
from dotbias.errors import DataError, UnknownIdError

close = st.integers(-50, 50)
far_apart = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
# The middle kind is coded through a table, the others are not.
columns = (
    st.lists(far_apart, min_size=1, max_size=40)
    | st.lists(close, min_size=1, max_size=40)
    | st.lists(texts, min_size=1, max_size=40)
)
FILMS = Vocabulary(
    pl.Series([1, 5, 7, 9]), pl.Series(["Heat (1995)", "Heat", None, "The Heat of the Night"])
)


@given(columns)
def test_encode_against_a_sorted_set(ids: list[Any]) -> None:
    vocabulary, index = Vocabulary.encode(pl.Series(ids))
    known = sorted(set(ids))
    assert vocabulary.ids.to_list() == known
    assert index.tolist() == [known.index(id) for id in ids]
    assert index.dtype == np.int32


@given(columns, columns)
def test_indices_against_a_dictionary(known: list[Any], asked: list[Any]) -> None:
    vocabulary, _ = Vocabulary.encode(pl.Series(known))
    position = {id: k for k, id in enumerate(vocabulary.ids)}
    if isinstance(known[0], str):
        expected = [position.get(str(id), -1) for id in asked]
    elif isinstance(asked[0], str):
        return  # text that names an integer: see below
    else:
        expected = [position.get(id, -1) for id in asked]
    assert vocabulary.indices(asked).tolist() == expected


@pytest.mark.parametrize("spread", [1, 1000])
def test_encode_of_more_than_one_block_and_chunk(spread: int) -> None:
    ids = np.random.default_rng(0).integers(-70_000, 70_000, 200_000) * spread
    chunked = pl.concat([pl.Series(ids[:99_999]), pl.Series(ids[99_999:])], rechunk=False)
    vocabulary, index = Vocabulary.encode(chunked)
    known, expected = np.unique(ids, return_inverse=True)
    assert np.array_equal(vocabulary.ids.to_numpy(), known)
    assert np.array_equal(index, expected)


@pytest.mark.parametrize("categories", [["a", "b", "c", "d"], ["d", "c", "b", "a"]])
@pytest.mark.parametrize("used", [["b", "d", "b"], ["d", "c", "b", "a"], ["a"]])
def test_encode_of_an_enum(used: list[str], categories: list[str]) -> None:
    vocabulary, index = Vocabulary.encode(pl.Series(used, dtype=pl.Enum(categories)))
    assert vocabulary.ids.to_list() == sorted(set(used))
    assert vocabulary.ids.dtype == pl.String
    assert [vocabulary.raw(at) for at in index] == used


@pytest.mark.parametrize("dtype", [pl.UInt8, pl.Int16, pl.Int32, pl.UInt32, pl.UInt64, pl.Int64])
def test_all_integers_become_one_type(dtype: Any) -> None:
    vocabulary, index = Vocabulary.encode(pl.Series([7, 3, 7], dtype=dtype))
    assert vocabulary.ids.equals(pl.Series("id", [3, 7], dtype=pl.Int64))
    assert index.tolist() == [1, 0, 1]
    assert vocabulary.indices(pl.Series([3, 4], dtype=dtype)).tolist() == [0, -1]


def test_integers_too_large_for_64_bits_with_a_sign_become_text() -> None:
    vocabulary, index = Vocabulary.encode(pl.Series([2**64 - 1, 2], dtype=pl.UInt64))
    assert vocabulary.ids.to_list() == ["18446744073709551615", "2"]
    assert index.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(["b", "a", "unused"])])
def test_categories_are_text_in_the_order_of_text(dtype: Any) -> None:
    vocabulary, index = Vocabulary.encode(pl.Series(["b", "a", "b"]).cast(dtype))
    assert vocabulary.ids.equals(pl.Series("id", ["a", "b"]))
    assert index.tolist() == [1, 0, 1]
    assert vocabulary.indices(pl.Series(["unused", "a"]).cast(dtype)).tolist() == [-1, 0]


def test_text_that_names_an_integer_is_found() -> None:
    assert FILMS.indices(["5", "6", "five", ""]).tolist() == [1, -1, -1, -1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, None], "a user or item id is missing"),
        (["a", None], "a user or item id is missing"),
        ([2.0, 1.5], r"id 1, 1\.5, is no whole number: ids are integers or strings"),
        ([True, False], "must be integers or strings, not Boolean"),
        ([[1], [2]], "must be integers or strings, not List"),
    ],
)
def test_what_cannot_be_an_id(ids: list[Any], message: str) -> None:
    for refuse in (as_ids, FILMS.indices):
        with pytest.raises(DataError, match=message):
            refuse(pl.Series(ids))


def test_no_ids_at_all() -> None:
    empty = pl.Series([], dtype=pl.Int64)
    vocabulary, index = Vocabulary.encode(empty)
    assert (len(vocabulary), len(index)) == (0, 0)
    assert vocabulary.indices([1, 2]).tolist() == [-1, -1]
    assert FILMS.indices(empty).shape == (0,)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        (5, 1),
        (np.int64(9), 3),
        ("7", 2),
        ("Heat", 1),  # a whole title wins over parts
        ("heat", 1),
        ("heat 19", 0),
        ("NIGHT", 3),
        ("night heat", 3),
        ("ight", 3),  # in the middle of a word, where no word begins so
        (".1995.", None),  # a part is no pattern
        ("h", None),
        ("...", None),
        ("casino", None),
        (4, None),
        (5.0, 1),
        (" 5 ", 1),
        (" Heat ", 1),
    ],
)
def test_find(name: Any, index: int | None) -> None:
    if index is not None:
        assert FILMS.find(name) == index
    else:
        with pytest.raises(UnknownIdError):
            FILMS.find(name)


DAYS = ["Salo, or The 120 Days of Sodom", "1984", "Ran"]


@pytest.mark.parametrize("name", ["120", " 120", "+120", "-120", "0120", "8", "19"])
def test_a_number_is_an_id_or_a_whole_title_where_ids_are_integers(name: str) -> None:
    """An unknown id was a film with its digits somewhere in the title, and was rated in silence."""
    films = Vocabulary(pl.Series([1, 2, 3]), pl.Series(DAYS))
    with pytest.raises(UnknownIdError, match=r"unknown item .* no id or whole title among 3"):
        films.find(name)
    assert films.find_known([name])[0].tolist() == [-1]
    assert (films.find("1984"), films.find("3"), films.find("120 days")) == (1, 2, 0)
    assert Vocabulary(pl.Series(["a", "b", "c"]), pl.Series(DAYS)).find("120") == 0


def test_find_says_what_is_ambiguous_or_unknown() -> None:
    with pytest.raises(UnknownIdError) as caught:
        FILMS.find("h")
    message = str(caught.value)
    assert message.startswith("'h' matches 3 titles; give the item's id or more of the title:")
    assert [line.split() for line in message.splitlines()[1:3]] == [
        ["1", "Heat", "(1995)"],
        ["5", "Heat"],
    ]
    many = Vocabulary(pl.Series(range(30)), pl.Series([f"Part {k}" for k in range(30)]))
    with pytest.raises(UnknownIdError, match="and 20 more"):
        many.find("part")
    with pytest.raises(UnknownIdError, match="unknown user 3: not among the 2 in training"):
        Vocabulary(pl.Series([1, 2])).find(3, noun="user")


TITLES = ["Toy Story 2 (1999)", "Toy Story (1995)", "Matrix, The (1999)", "Amélie", "再见霸王别姬"]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("Toy Story", 1),  # the whole title but for the year, though it is a part of another
        ("story toy", 1),
        ("The Matrix", 2),
        ("matrix the 1999", 2),
        ("AMELIE", 3),
        ("Ame\u0301lie", 3),
        ("霸王别姬", 4),  # no blanks between words
    ],
)
def test_titles_are_found_as_people_write_them(name: str, index: int) -> None:
    assert Vocabulary(pl.Series(range(5)), pl.Series(TITLES)).find(name) == index


def test_what_is_misspelt_is_asked_about() -> None:
    films = Vocabulary(pl.Series(range(5)), pl.Series(TITLES))
    for name, near in (("Toy Stroy", "'Toy Story (1995)' or"), ("matirx", "'Matrix, The (1999)'?")):
        with pytest.raises(UnknownIdError, match="did you mean") as caught:
            films.find(name)
        assert near in str(caught.value)
    people = Vocabulary(pl.Series(["anna", "bert"]))
    with pytest.raises(UnknownIdError, match=r"unknown user 'ana': .*; did you mean 'anna'\?"):
        people.find("ana", noun="user")
    for vocabulary, name in ((films, "nothing alike"), (FILMS, 4), (Vocabulary(FILMS.ids), "11")):
        with pytest.raises(UnknownIdError) as caught:
            vocabulary.find(name)
        assert "did you mean" not in str(caught.value)


def test_of_many_unknown_names_few_are_looked_into() -> None:
    """To compare each with all titles would take long."""
    people = Vocabulary(pl.Series(["anna", "bert"]))
    refused = people.find_known(["ana"] * 100, noun="user")[1]
    assert sum("did you mean" in str(error) for error in refused.values()) == 3


def test_raw_and_label() -> None:
    assert [FILMS.raw(k) for k in range(4)] == [1, 5, 7, 9]
    assert [FILMS.label(k) for k in range(4)] == [
        "Heat (1995)",
        "Heat",
        "7",
        "The Heat of the Night",
    ]
    assert Vocabulary(pl.Series(["a"])).label(np.int32(0)) == "a"


def test_take_keeps_ids_and_titles_together() -> None:
    taken = FILMS.take(np.array([1, 2], np.int32))
    assert taken.ids.to_list() == [5, 7]
    assert taken.titles is not None
    assert taken.titles.to_list() == ["Heat", None]
    assert Vocabulary(pl.Series([3, 4])).take(np.array([1], np.int32)).titles is None


def test_genres_go_where_titles_go() -> None:
    kinds = pl.DataFrame(
        {
            "id": [5, 5, 9, 1],
            "title": ["Heat", "h", None, "Ran"],
            "genres": [None, "a|b", "c", None],
        }
    )
    named = FILMS.with_titles(kinds)
    assert named.genres is not None
    assert named.genres.to_list() == [None, "a|b", None, "c"]
    assert FILMS.with_titles(kinds.drop("genres")).genres is None
    taken = named.take(np.array([1, 3], np.int32)).genres
    assert taken is not None
    assert taken.to_list() == ["a|b", "c"]
    more = Vocabulary(pl.Series([2, 7, 9]), pl.Series(["B", "C", "D"]), pl.Series(["x", "y", "z"]))
    merged = named.merge(more)
    assert merged.genres is not None
    assert merged.genres.to_list() == [None, "x", "a|b", "y", "c"]
    assert FILMS.merge(more).genres is not None


@pytest.mark.parametrize("ids", [[9, 1, 77, 9], ["9", "1", "x", "9"]])
def test_titles_are_looked_up_and_the_first_of_several_wins(ids: list[Any]) -> None:
    titles = pl.DataFrame({"id": ids, "title": ["nine", "one", "other", "again"]})
    named = FILMS.with_titles(titles)
    assert named.ids.equals(FILMS.ids)
    assert named.titles is not None
    assert named.titles.to_list() == ["one", None, None, "nine"]


def test_equal_ids_make_equal_vocabularies() -> None:
    assert Vocabulary(FILMS.ids) == FILMS
    assert Vocabulary(pl.Series([1, 5, 7])) != FILMS
    assert Vocabulary(FILMS.ids.cast(pl.String)) != FILMS
    assert FILMS != 7
    assert repr(FILMS) == "Vocabulary(4 ids: 1, 5, 7, ...)"
    assert repr(Vocabulary(pl.Series(["a"]))) == "Vocabulary(1 ids: 'a')"


@given(columns, columns)
def test_many_are_found_as_one_by_one(known: list[Any], asked: list[Any]) -> None:
    vocabulary, _ = Vocabulary.encode(pl.Series(known))
    expected, refused = [], {}
    for place, name in enumerate(asked):
        try:
            expected.append(vocabulary.find(name))
        except UnknownIdError as error:
            expected.append(-1)
            refused[place] = str(error).partition(";")[0]
    found, why = vocabulary.find_known(asked)
    assert found.tolist() == expected
    assert {place: str(error).partition(";")[0] for place, error in why.items()} == refused


def test_ids_and_titles_are_found_together() -> None:
    found, refused = FILMS.find_known([7, "9", "Heat", "Heat (1995)", "Ran", 2])
    assert found.tolist() == [2, 3, 1, 0, -1, -1]
    assert ["'Ran'" in str(refused[4]), "item 2" in str(refused[5])] == [True, True]


@given(columns, columns)
def test_a_merged_vocabulary_has_the_ids_of_both(one: list[Any], other: list[Any]) -> None:
    """Both have the type of the first; text that names no integers is none."""
    own, joining = (Vocabulary.encode(pl.Series(ids))[0] for ids in (one, other))
    as_own = {*other}
    if isinstance(one[0], str):
        as_own = {str(id) for id in other}
    elif isinstance(other[0], str):
        with pytest.raises(DataError, match="user ids are integers here and text in the new"):
            own.merge(Vocabulary(pl.Series(["x", *map(str, range(3))])), noun="user")
        joining = Vocabulary(pl.Series(sorted(map(str, range(3)))))
        as_own = {0, 1, 2}
    assert own.merge(joining).ids.to_list() == sorted({*one, *as_own})


def test_two_texts_that_are_one_integer_do_not_become_one_id() -> None:
    with pytest.raises(DataError, match="integers here and text"):
        FILMS.merge(Vocabulary(pl.Series(["007", "7"])))


def test_titles_are_merged_and_the_first_counts() -> None:
    more = Vocabulary(pl.Series([5, 6, 7]), pl.Series(["another", "Ran", "Casino"]))
    merged = FILMS.merge(more)
    assert merged.titles is not None
    assert dict(zip(merged.ids, merged.titles, strict=True)) == {
        1: "Heat (1995)", 5: "Heat", 6: "Ran", 7: "Casino", 9: "The Heat of the Night"
    }  # fmt: skip
    assert Vocabulary(pl.Series([1])).merge(Vocabulary(pl.Series([2]))).titles is None
