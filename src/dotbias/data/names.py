"""Names: what columns are usually called, and what a name says of what is in the column."""

import re
from collections.abc import Sequence


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _called(nouns: str, *endings: str) -> str:
    """Each of the nouns with each of the endings, the likeliest first."""
    return " ".join(noun + ending for ending in endings for noun in nouns.split())


WHERE = "where"
"""The role of the column that says which rows are read."""

_COUNTS = (
    "count counts cnt plays playcount nplays listens listencount clicks views viewcount visits "
    "visitcount watchcount downloads purchases orders quantity qty units weight frequency freq hours "
    "hoursplayed playtime playtimeforever minutes seconds times n"
)
_STARS = (
    "rating ratings stars star starrating score overall value bookrating userrating myrating "
    "yourrating myscore reviewscore reviewrating reviewoverall ratingvalue ratingscore grade points "
    "isrecommended recommended recommend"
)
_PEOPLE = (
    "user customer cust client member reviewer account visitor person profile reader viewer listener "
    "player student rater household subscriber shopper participant respondent consumer"
)
_THINGS = (
    "item movie film product prod book track song artist anime game app business recipe place venue "
    "poi restaurant hotel wine beer joke show video bookmark course article listing subreddit work"
)
# The likeliest first, without case, spaces and underscores: ids before names.
_USUAL = {
    "user": f"userid uid user {_called(_PEOPLE, 'id', 'key', 'code', '', 'name')} reviewprofilename "
    "email emailaddress benutzer nutzer kunde utilisateur usuario usuário 用户id 用户 用户名 "
    "sessionid session",
    "item": "itemid iid item movieid filmid productid bookid trackid songid artistid animeid gameid "
    f"appid businessid parentasin asin isbn {_called(_THINGS, 'id', 'code', 'uri')} beerbeerid bggid "
    f"gmapid contentid animeuid stockcode isbn13 sku const {_called(_THINGS, '')} artikel artículo "
    "película produit livre 物品id 电影id 商品id 物品 电影 商品 图书 id",
    "rating": f"{_STARS} bewertung puntuación calificación 评分 打分 {_COUNTS}",
    "time": "timestamp time unixreviewtime unixtime datetime date reviewtime reviewdate ratedat "
    "createdat created dateadded daterated eventtime eventdate utctimestamp utc tstamp tdat "
    "invoicedate transactiondt purchasedate orderdate datum fecha ts 时间 时间戳 日期",
    "title": f"{_called(_THINGS, 'title', 'name')} title name 标题 名称",
    "genres": "genres genre categories category",
    # What tells purchases from clicks, and the like.
    WHERE: "event eventtype eventname action actiontype activity behavior behaviortype behaviour "
    "behaviourtype interaction interactiontype",
}
_USUAL["id"] = _USUAL["item"]
# A rating may turn out to be a count, and what is asked for as a count may be called a rating.
_USUAL["count"] = f"{_COUNTS} {_STARS}"
USUAL = {role: tuple(names.split()) for role, names in _USUAL.items()}
"""The usual names of each role."""

_ALL = frozenset(name for names in USUAL.values() for name in names)
NOUNS = {"user": _set(_PEOPLE), "item": _set(_THINGS)}
"""What users and items are."""

# Names that frames give to the numbers of their rows when they write them.
_ROW_NUMBERS = _set("unnamed0 index rownames level0") | {""}
# What surveys ask besides.
_ABOUT_USERS = _set(
    "id age gender sex height weight country city state education occupation job income zip zipcode"
)
# Columns of reviews, beside which a plain title is that of the review.
_REVIEWS = _set("text review reviewtext reviewbody reviewcontent comment body")
# Words in the names of columns that are no ratings, whatever they hold.
_NO_RATINGS = _set(
    "action address age agent album amount author basket behavior behaviour body brand cat category "
    "channel city class comment comments cost country created currency date datetime day desc "
    "description device discount email event gender genre hour index invoice ip key lat latitude link "
    "lng lon longitude market marketplace month name no number offset order page pages platform price "
    "region review reviews seller session status store summary tag tags text time timeframe timestamp "
    "timezone title transaction tweet type updated uri url user venue year zip"
)
_VERDICTS = _set("rating ratings score scores stars grade")
# Words in the names of ids of neither users nor items.
_OTHER_IDS = _set(
    "basket brand cat category event genre index interaction invoice order rating record review row "
    "session seller store tag transaction"
)
# RecBole writes the type of a column behind its name.
_TYPED = re.compile(r":(token|float|token_seq|float_seq)$")


def plain(name: str) -> str:
    """A name as it is among the usual ones; of one with a path before it, as nested JSON and some sets
    have, the end that is usual.

    >>> plain("Book-Rating"), plain("user_id:token"), plain("review/userId"), plain("movie.title")
    ('bookrating', 'userid', 'userid', 'movietitle')
    """
    ends = re.split(r"[/.]", _TYPED.sub("", name.strip().lower()))
    forms = [re.sub(r"[\W_]", "", "".join(ends[at:])) for at in range(len(ends))]
    return next((form for form in forms if form in _ALL), forms[0])


def words(name: str) -> set[str]:
    """The words that a name is made of.

    >>> sorted(words("gPlusUserId")), sorted(words("transactionid"))
    (['g', 'id', 'plus', 'user'], ['transaction', 'transactionid'])
    """
    parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return parts | {part.removesuffix("id") for part in parts if part != "id"}


def usual_places(columns: Sequence[str], role: str) -> list[int]:
    """Positions of the columns whose names are usual for a role, the likeliest first."""
    names = [plain(column) for column in columns]
    return [names.index(name) for name in USUAL[role] if name in names]


def usual_place(columns: Sequence[str], role: str) -> int | None:
    """Position of the first column whose name is usual for a role."""
    return next(iter(usual_places(columns, role)), None)


def counts(column: str) -> bool:
    """Whether a column of this name holds counts, and no ratings."""
    return plain(column) in _COUNTS.split()


def stars(column: str) -> bool:
    """Whether a column of this name holds ratings, whatever they look like."""
    return plain(column) in _STARS.split() and plain(column) != "value"


def may_be_rating(column: str) -> bool:
    """Whether a column that has no role could hold ratings: its name is neither usual for another role
    nor one of what is no rating.
    """
    name, said = plain(column), words(column)
    if (
        name in _ALL
        or name in _ROW_NUMBERS
        or name.endswith(("id", "name", "title", "date", "url"))
    ):
        return False
    return _NO_RATINGS.isdisjoint(said) or not _VERDICTS.isdisjoint(said)


def may_be_id(column: str) -> bool:
    """Whether a column whose name is not usual could hold ids of users or items."""
    name = plain(column)
    return len(name) > 2 and name.endswith("id") and _OTHER_IDS.isdisjoint(words(column))


def are_of_reviews(columns: Sequence[str]) -> bool:
    """Whether one of the columns holds the text of a review."""
    return any(plain(name) in _REVIEWS for name in columns)


def is_about_users(column: str) -> bool:
    """Whether a column of a wide table numbers its rows, or describes its users."""
    return plain(column) in {*_ROW_NUMBERS, *_ABOUT_USERS, *USUAL["time"]}


def only_numbered(names: Sequence[str], following: Sequence[Sequence[str]] = ()) -> bool:
    """Whether a header says no more of the columns than their numbers, as programs write it of columns
    without names: ``0,1,2``, ``V1,V2,V3``, ``_c0,_c1,_c2``.

    Args:
        names: of the first row.
        following: rows below; where one of them begins with the 0 that the header begins with, the
            header may be a row itself.

    >>> only_numbered(["V1", "V2"]), only_numbered(["", "0", "1", "2"]), only_numbered(["1", "2", "3"])
    (True, True, False)
    """
    indexed = names[:1] == [""]
    names = names[indexed:]
    pattern = re.compile(r"(V|X|_c|column_?|col_?|field_?|)(\d+)", re.IGNORECASE)
    parts = [part for name in names if (part := pattern.fullmatch(name.strip()))]
    if len(parts) < max(len(names), 2) or len({part[1] for part in parts}) > 1:
        return False
    numbers = [int(part[2]) for part in parts]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return False
    if parts[0][1]:
        return numbers[0] in (0, 1)
    first = {row[0] for row in following if row}
    return numbers[0] == 0 and len(names) > 2 and (indexed or "0" not in first)
