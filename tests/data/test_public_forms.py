"""Files as public data sets, exports and tools have them: a form, and what must come out of it.

All hold the same planted ratings of 9 users and 8 items; a form changes how they are written, and
perhaps the ids.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import polars as pl
import pytest

from dotbias.data.ratings import Ratings
from dotbias.data.read import read_ratings, read_ratings_with_report
from dotbias.errors import DataError

# User, item, rating, time; users have different numbers of items.
ROWS = [
    (u, 100 + i, 1 + (u * i + u) % 5, 1_100_000_000 + 86_461 * (7 * u + i))
    for u in range(11, 20)
    for i in range(1, 9)
    if (u + i) % (2 + u % 3)
]
USERS, ITEMS = sorted({row[0] for row in ROWS}), sorted({row[1] for row in ROWS})
OF = {u: {i: r for v, i, r, _ in ROWS if v == u} for u in USERS}


def text(form: str, header: str = "", rows: Any = ROWS) -> str:
    """A line for each row: its form is filled in with u, i, r, t, the day d and the time of day."""
    lines = [header] if header else []
    for k, (u, i, r, t) in enumerate(rows):
        d = datetime.fromtimestamp(t, UTC)
        lines.append(form.format(u=u, i=i, r=r, t=t, d=d, k=k, stars="★" * r))
    return "\n".join(lines) + "\n"


def lines(one: Callable[[int, int, int, int], Any]) -> str:
    return "".join(json.dumps(one(*row)) + "\n" for row in ROWS)


class Form(NamedTuple):
    """A file, and what is in it: ratings unless ``kind`` says otherwise, and what is said."""

    file: str
    content: str
    said: str = ""
    kind: str = "ratings"
    user: Callable[[int], Any] = int
    item: Callable[[int], Any] = int
    rating: Callable[[int], float] = float


def lists(sep: str = " ") -> str:
    return "".join(sep.join(map(str, (u, *OF[u]))) + "\n" for u in USERS)


def table(head: str, first: Callable[[int], str] = str, none: str = "") -> str:
    """A line for each user: what comes first, then a cell for each item."""
    cells = {u: ",".join(str(OF[u].get(i, none)) for i in ITEMS) for u in USERS}
    return head + "\n" + "".join(f"{first(u)},{cells[u]}\n" for u in USERS)


PIVOT = ",".join(["user", *map(str, ITEMS)])
FILMS = ",".join(f"Film {i}" for i in ITEMS)
ASKED = ",".join(f'"Rate, please [Film {i}]"' for i in ITEMS)


def nested(u: int, i: int, r: int, t: int) -> Any:
    del t
    return {"user": {"id": u, "name": "Ann"}, "movie": {"id": i, "title": f"Film {i}"}, "rating": r}


def mongo(u: int, i: int, r: int, t: int) -> Any:
    ids = {
        "_id": {"$oid": "5f"},
        "userId": {"$numberInt": str(u)},
        "movieId": {"$numberInt": str(i)},
    }
    return {
        **ids,
        "rating": {"$numberDouble": f"{r}.0"},
        "date": {"$date": {"$numberLong": str(t * 1000)}},
    }


def python(u: int, i: int, r: int, t: int) -> str:
    return repr(
        {
            "reviewerID": f"A{u}",
            "asin": f"it's {i}",
            "overall": r,
            "text": "a\n",
            "unixReviewTime": t,
        }
    )


RULED = (
    text(" {u:6d} | {i:5d} | {r}", " userid | venueid | rating \n--------+---------+--------")
    + "(9 rows)\n"
)
ORDER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
HM = "t_dat,customer_id,article_id,price,sales_channel_id"
VENUES = "userId,venueId,venueCategoryId,latitude,longitude,timezoneOffset,utcTimestamp"
REES = "event_time,event_type,product_id,category_id,brand,price,user_id,user_session"
USED = "user_id,recipe_id,date,rating,review"
CLOCK = "{d:%Y-%m-%d %H:%M:%S}"
RECORDS = [{"user": u, "item": i, "rating": r} for u, i, r, _ in ROWS]
FRAME = pd.DataFrame(RECORDS)

FORMS = {
    # Names of columns.
    "Food.com": Form(
        "RAW_interactions.csv", text("{u},{i},{d:%Y-%m-%d},{r},ok", USED), "recipe_id = item"
    ),
    "BoardGameGeek": Form(
        "user_ratings.csv",
        text("{i},{r},Tor{u}", "BGGId,Rating,Username"),
        "",
        "ratings",
        lambda u: f"Tor{u}",
    ),
    "an id that is left over": Form(
        "r.csv",
        text("{k},{u},{i},2001,{r}", "RatingID,PlaytesterID,WineID,Vintage,Rating"),
        "PlaytesterID = user, WineID = item",
    ),
    "ids before names": Form(
        "r.csv",
        text("Jo,{u},{i},{r}", "reviewerName,gPlusUserId,gPlusPlaceId,rating"),
        "gPlusUserId = user, gPlusPlaceId = item",
    ),
    "titles alone": Form(
        "r.csv",
        text("{u},Film {i},{r}", "user,title,rating"),
        "title = item",
        item=lambda i: f"Film {i}",
    ),
    "Chinese": Form("r.csv", text("{u},{i},{r}", "用户ID,电影,评分"), "电影 = item"),
    "RateBeer": Form(
        "r.json",
        lines(
            lambda u, i, r, t: {
                "beer/beerId": i,
                "review/overall": f"{r}/5",
                "review/profileName": u,
                "review/time": t,
            }
        ),
        "review/overall = rating",
    ),
    "Airbnb": Form(
        "reviews.csv",
        text(
            "{i},{k},{d:%Y-%m-%d},{u},Jo,nice",
            "listing_id,id,date,reviewer_id,reviewer_name,comments",
        ),
        "each row is one event",
        "events",
    ),
    "H&M": Form(
        "transactions.csv",
        text("{d:%Y-%m-%d},{u},0{i},0.05,2", HM),
        "each row is one event",
        "events",
        item=lambda i: f"0{i}",
    ),
    "REES46": Form(
        "2019-Oct.csv",
        text(CLOCK + " UTC,view,{i},1,x,35.79,{u},ab", REES),
        "event_time = time",
        "events",
    ),
    "Online Retail": Form(
        "data.csv",
        text("53,{i},LAMP,{r},{d:%m/%d/%Y %H:%M},2.55,{u}.0,UK", ORDER),
        "%m/%d/%Y",
        "counts",
    ),
    "no names but numbers: pandas": Form(
        "r.csv", text("{u},{i},{r},{t}", "0,1,2,3"), "the header only numbers"
    ),
    "no names but numbers: R": Form(
        "r.csv", text("{u},{i},{r}", "V1,V2,V3"), "the header only numbers"
    ),
    "no names but numbers, an index": Form(
        "r.csv", text("{k},{u},{i},{r}", ",0,1,2"), "numbers the rows"
    ),
    # Without names.
    "Gowalla": Form(
        "loc-gowalla.txt",
        text("{u}\t{d:%Y-%m-%dT%H:%M:%SZ}\t30.23590911\t-97.79513958\t{i}"),
        "5 = item",
        "events",
    ),
    "Last.fm 1K": Form(
        "plays.tsv",
        text("{u}\t{d:%Y-%m-%dT%H:%M:%SZ}\t{i}\tBand {i}\t\tSong"),
        "3 = item",
        "events",
    ),
    "YOOCHOOSE": Form(
        "clicks.dat",
        text("{u},{d:%Y-%m-%dT%H:%M:%S.000Z},21450{i},{k}"),
        "2 = time",
        "events",
        item=lambda i: int(f"21450{i}"),
    ),
    "Foursquare": Form(
        "tsmc.txt",
        text("{u}\tv{i}\t4bf\tArt\t40.71981\t-74.00258\t-240\t{d:%a %b %d %H:%M:%S +0000 %Y}"),
        "8 = time",
        "events",
        item=lambda i: f"v{i}",
    ),
    # Text.
    "Hive": Form("000000_0", text("{u}\x01{i}\x01{r}"), "1 = user"),
    "R's write.table": Form(
        "r.txt", text('"{k}" {u} {i} {r}', '"user" "item" "rating"'), "blank between columns"
    ),
    "printed by pandas": Form(
        "r.txt",
        text("{k:<5d}{u:6d}{i:6d}{r:4d}", "      user  item  rating"),
        "blank between columns",
    ),
    "printed by PostgreSQL": Form("ratings.dat", RULED, "a printed table"),
    "printed by MySQL": Form(
        "r.txt",
        text(
            "| {u:4d} | {i:5d} | {r} |",
            "+----+----+---+\n| user | item | rating |\n+----+----+---+",
        ),
        "a printed table",
    ),
    "Markdown": Form(
        "r.md",
        text("| {u} | {i} | {r} |", "| user | item | rating |\n|---|---:|---|"),
        "a printed table",
    ),
    "blocks of SNAP": Form(
        "foods.txt",
        text(
            "product/productId: B{i}\nreview/userId: {u}\nreview/score: {r}.0\nreview/text: so: so\n"
        ),
        "review/userId = user",
        user=str,
        item=lambda i: f"B{i}",
    ),
    "decimal commas everywhere": Form(
        "r.csv", text("{k};{u};{i};{r},00;0,50", "id;user;item;rating;weight"), "decimal comma"
    ),
    "quotation marks behind blanks": Form(
        "r.csv", text('"{u}","{i}","{r}"', '"user_id", "item_id", "rating"'), "item_id = item"
    ),
    # Lists.
    "LightGCN": Form("train.txt", lists(), "a line for each user", "events"),
    "LightGCN, blanks at the end": Form(
        "train.txt", lists().replace("\n", " \n"), "a line for each user", "events"
    ),
    "CiteULike": Form(
        "users.dat",
        "".join(f"{len(OF[u])} {' '.join(map(str, OF[u]))}\n" for u in USERS),
        "counts its items",
        "events",
        lambda u: u - 10,
    ),
    # Wide.
    "a pivot": Form("p.csv", table(PIVOT), "column user = user"),
    "with null": Form("p.csv", table(PIVOT, none="null"), "column user = user"),
    "a survey": Form(
        "s.csv",
        table("ID,Age,Gender," + FILMS, lambda u: f"{u},{20 + u},F"),
        "left out: 'Age', 'Gender'",
        item=lambda i: f"Film {i}",
    ),
    "Google Forms": Form(
        "Responses.csv",
        table("Timestamp,Email Address," + ASKED, lambda u: f"11/09/2004 11:49:{u},p{u}@x.org"),
        "Email Address = user",
        user=lambda u: f"p{u}@x.org",
        item=lambda i: f"Film {i}",
    ),
    "items in rows": Form(
        "UserRatings1.csv",
        "JokeId,"
        + ",".join(f"User{u}" for u in USERS)
        + "\n"
        + "".join(
            ",".join([str(i), *(str(OF[u].get(i, "")) for u in USERS)]) + "\n" for i in ITEMS
        ),
        "column JokeId = item",
        user=lambda u: f"User{u}",
    ),
    # JSON.
    "nested": Form("r.jsonl", lines(nested), "user.id = user, movie.id = item"),
    "MongoDB": Form("r.json", lines(mongo), "userId = user"),
    "Elasticsearch": Form(
        "r.json",
        json.dumps(
            {"took": 5, "hits": {"hits": [{"_id": "a", "_source": one} for one in RECORDS]}}
        ),
        "_source.user = user",
    ),
    "GraphQL": Form(
        "r.json",
        json.dumps({"data": {"ratings": {"edges": [{"node": nested(*row)} for row in ROWS]}}}),
        "node.user.id = user",
    ),
    "pages": Form(
        "r.json",
        json.dumps({"count": 9, "next": None, "results": RECORDS}, indent=1),
        "user = user",
    ),
    "by user and item": Form("r.json", json.dumps(OF), "item = item"),
    "by user, a list": Form(
        "r.json",
        json.dumps(
            [
                {"user": u, "ratings": [{"item": i, "rating": r} for i, r in OF[u].items()]}
                for u in USERS
            ]
        ),
        "ratings.item = item",
    ),
    "by user, lines": Form(
        "r.jsonl",
        "".join(json.dumps({"user": u, "ratings": OF[u]}) + "\n" for u in USERS),
        "item = item",
    ),
    "by user, items": Form(
        "r.jsonl",
        "".join(json.dumps({"user_id": u, "items": list(OF[u])}) + "\n" for u in USERS),
        "item = item",
        "events",
    ),
    "OTTO": Form(
        "otto.jsonl",
        "".join(
            json.dumps(
                {
                    "session": u,
                    "events": [{"aid": i, "ts": 1659304800025, "type": "clicks"} for i in OF[u]],
                }
            )
            + "\n"
            for u in USERS
        ),
        "events.aid = item",
        "events",
    ),
    "Firebase": Form(
        "r.json", json.dumps({f"-L{k}": one for k, one in enumerate(RECORDS)}), "user = user"
    ),
    "Python's dictionaries": Form(
        "reviews.json",
        "".join(python(*row) + "\n" for row in ROWS),
        "asin = item",
        user=lambda u: f"A{u}",
        item=lambda i: f"it's {i}",
    ),
    "with NaN": Form(
        "r.json", json.dumps([{**one, "note": float("nan")} for one in RECORDS]), "user = user"
    ),
    **{
        f"pandas, {orient}": Form("r.json", FRAME.to_json(orient=orient))
        for orient in ("columns", "split", "index", "table", "values")
    },
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read_and_can_be_read_again(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    path = tmp_path / form.file
    path.write_text(form.content, encoding="utf-8")
    ratings, report = read_ratings_with_report(path)
    expected = {(form.user(u), form.item(i), form.rating(r)) for u, i, r, _ in ROWS}
    if form.kind == "events":
        expected = {(u, i, 1.0) for u, i, _ in expected}
    assert triples(ratings) == expected
    assert ratings.kind == form.kind
    assert form.said in " | ".join([report.taken, *report.lines()])
    again = read_ratings(path, **ratings.reading or {})
    assert again.to_frame().equals(ratings.to_frame())
    assert (again.kind, again.reading) == (ratings.kind, ratings.reading)


def triples(ratings: Ratings) -> set[tuple[Any, Any, float]]:
    users, items = ratings.user_vocabulary.ids, ratings.item_vocabulary.ids
    values = ratings.values.tolist()
    return set(zip(users[ratings.user_indices], items[ratings.item_indices], values, strict=True))


SECONDS, MINUTES, DAYS = 1, 60, 86_400
TIMES = {
    # How a time is written: how exact that is.
    "{d:%Y-%m-%dT%H:%M:%S+00:00}": SECONDS,
    CLOCK + " UTC": SECONDS,
    CLOCK + ".123456+00": SECONDS,
    "{d:%Y-%m-%d %H}": 3_600,
    "{d:%m/%d/%Y}": DAYS,
    "{d:%d/%m/%Y %H:%M}": MINUTES,
    "{d:%m/%d/%Y %I:%M:%S %p}": SECONDS,
    "{d:%d.%m.%Y}": DAYS,
    "{d:%d.%m.%y}": DAYS,
    "{d:%Y/%m/%d %H:%M:%S}": SECONDS,
    "{d:%Y%m%d}": DAYS,
    "{d:%Y%m%d%H%M%S}": SECONDS,
    '"{d:%B %d, %Y}"': DAYS,
    "{d:%d-%b-%Y}": DAYS,
    '"{d:%m %d, %Y}"': DAYS,
    "{d:%a %b %d %H:%M:%S +0000 %Y}": SECONDS,
    '"{d:%a, %d %b %Y %H:%M:%S GMT}"': SECONDS,
    "{d.year}年{d.month}月{d.day}日": DAYS,
    "{t}000": SECONDS,
}


@pytest.mark.parametrize("written", TIMES)
def test_a_time_is_read_and_can_be_read_again(written: str, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text("{u},{i},{r}," + written, "user,item,rating,date"), encoding="utf-8")
    ratings = read_ratings(path)
    exact = TIMES[written]
    assert ratings.to_frame()["timestamp"].to_list() == [t // exact * exact for *_, t in ROWS]
    assert read_ratings(path, **ratings.reading or {}).to_frame().equals(ratings.to_frame())


def test_day_and_month_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating,date\n1,1,3,02/01/2010\n1,2,4,03/01/2010\n")
    ratings, report = read_ratings_with_report(path)
    assert "%m/%d/%Y; pass time_as= (on the command line --time-as)" in " ".join(report.lines())
    days = read_ratings(path, time_as="%d/%m/%Y").to_frame()["timestamp"].to_list()
    assert days == [1262390400, 1262476800]
    assert ratings.to_frame()["timestamp"].to_list() != days


def test_ids_of_any_size_can_be_read_again(tmp_path: Path) -> None:
    """What was found said integers, and all beyond 2**31 were refused for it."""
    path = tmp_path / "r.csv"
    path.write_text(text("90071992547409{u},{i},{r}", "user,item,rating"))
    ratings = read_ratings(path)
    assert read_ratings(path, **ratings.reading or {}).to_frame().equals(ratings.to_frame())


def test_titles_of_reviews_are_none_of_items(tmp_path: Path) -> None:
    """Amazon's reviews of 2023 have a title and a text each."""
    path = tmp_path / "All_Beauty.jsonl"
    one = {"rating": 5.0, "title": "Great", "text": "so", "asin": "B1", "parent_asin": "B0"}
    rows = [one | {"user_id": u, "timestamp": 1 + u, "rating": 1.0 + u} for u in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_ratings(path).item_vocabulary.titles is None


MANY = {
    # Files of a folder: which is taken, and of which one the titles are.
    "Yelp": (
        {
            "yelp_academic_dataset_business.json": lines(
                lambda _u, i, _r, _t: {"business_id": i, "name": f"Film {i}", "stars": 4}
            ),
            "yelp_academic_dataset_review.json": lines(
                lambda u, i, r, _t: {
                    "review_id": "x",
                    "user_id": u,
                    "business_id": i,
                    "stars": r,
                    "text": "ok",
                }
            ),
            "yelp_academic_dataset_user.json": '{"user_id": 11, "name": "Ann"}\n',
            "Agreement.pdf": "%PDF",
        },
        "ratings",
    ),
    "RecBole": (
        {
            "x.inter": text("{u}\t{i}\t{r}", "user_id:token\titem_id:token\trating:float"),
            "x.item": text("{i}\tFilm {i}", "item_id:token\tmovie_title:token_seq"),
            "x.user": "user_id:token\n11\n",
        },
        "ratings",
    ),
    "Anime": (
        {
            "anime.csv": text("{i},Film {i},TV,9.1", "anime_id,name,type,rating"),
            "rating.csv": text("{u},{i},{r}", "user_id,anime_id,rating"),
        },
        "ratings",
    ),
    "Last.fm": (
        {
            "user_artists.dat": text("{u}\t{i}\t{r}", "userID\tartistID\tweight"),
            "artists.dat": text("{i}\tFilm {i}\thttp://x", "id\tname\turl"),
            "tags.dat": "tagID\ttagValue\n1\tmetal\n",
            "readme.txt": "x\n",
        },
        "counts",
    ),
}


@pytest.mark.parametrize("name", MANY)
def test_a_folder_of_a_public_set(name: str, tmp_path: Path) -> None:
    files, kind = MANY[name]
    for file, content in files.items():
        (tmp_path / file).write_text(content, encoding="utf-8")
    ratings = read_ratings(tmp_path)
    assert triples(ratings) == {(u, i, float(r)) for u, i, r, _ in ROWS}
    assert ratings.kind == kind
    titles = ratings.item_vocabulary.titles
    assert titles is not None
    assert sorted(titles) == [f"Film {i}" for i in ITEMS]


def test_objects_of_python() -> None:
    expected = {(u, i, float(r)) for u, i, r, _ in ROWS}
    assert triples(read_ratings(OF)) == expected
    assert triples(read_ratings(pd.DataFrame([row[:3] for row in ROWS]))) == expected
    frame = pl.DataFrame([row[:3] for row in ROWS], orient="row")
    assert triples(read_ratings(frame)) == expected


REFUSED = {
    # What cannot be read is named at once, with what to do.
    "dump.sql": (
        "-- MySQL dump 10.13\nINSERT INTO `r` VALUES (1,2,3);\n",
        "load it into a database",
    ),
    "BX.dump": (
        "CREATE TABLE `r` (\n `a` int\n);\nINSERT INTO `r` VALUES (1,2,3);\n",
        "dump of SQL",
    ),
    "lfs.csv": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
        "git lfs pull",
    ),
    "x.libfm": (text("{r} {u}:1 {i}:1"), "rows of user, item and rating"),
    "x.ffm": (text("1 0:{u}:1 1:{i}:1"), "rows of user, item and rating"),
    "x.vw": (text("{r} |u {u} |i {i}"), "rows of user, item and rating"),
    "r.xls": ("<table><tr><td>1</td></tr></table>", "open it in a spreadsheet"),
    "r.yaml": ("- user: 1\n  item: 2\n", "CSV or JSON"),
    "probe.txt": ("101:\n11\n12\n", "a file with ratings"),
    "qualifying.txt": ("101:\n11,2005-01-01\n", "a file with ratings"),
    "my.csv": ("Const,Your Rating,Date Rated,Title\ntt1,5,2019-01-01,Heat\n", "--for-ratings FILE"),
    "geo.json": (
        json.dumps({"type": "F", "features": [{"geometry": {"x": [1, 2]}}]}),
        "no user column",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    content, advice = REFUSED[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_ratings(tmp_path / name)
    assert advice in str(caught.value)


WARNED = {
    # What is likely wrong is a warning that says how to put it right.
    "an id of the row": (text("{k},{u},{r}", "ID,Username,Star"), "has another item"),
    "more than four columns": (text("{u},{i},{r},7,8"), "5 columns without names"),
    "people, and no ratings": (text("{k}::F::7::1::48067", rows=ROWS * 3), "of no more than"),
    "shortened ids": (text("{u},9.78{i}E+12,{r}", "user,isbn,rating"), "has shortened"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_likely_wrong_is_a_warning(name: str, tmp_path: Path) -> None:
    content, warning = WARNED[name]
    path = tmp_path / "r.csv"
    path.write_text(content, encoding="utf-8")
    _, report = read_ratings_with_report(path)
    assert warning in " ".join(report.warnings)
