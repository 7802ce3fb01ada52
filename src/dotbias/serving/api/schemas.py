"""What calls are told and what they answer, with an example of each."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dotbias.serving.placing import Method

MOST_LISTED = 1_000
MOST_EXPLAINED = 100
MOST_PAIRS = 10_000
MOST_NAMES = 1_000
MOST_RATINGS = 10_000
MOST_MEMBERS = 20
LONGEST_ID = 500
# Two to the 53rd: whole numbers up to it are the same in every JSON reader.
_LARGEST = 2**53


def storable(raw: int | str) -> int | str:
    """Refuse what no database keeps as it is."""
    if isinstance(raw, str):
        if not raw.strip():
            raise ValueError("an id is missing")
        if any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in raw):
            raise ValueError("an id holds no control characters and no half of a letter")
    elif abs(raw) > _LARGEST:
        raise ValueError("write ids of more than 53 bits as text")
    return raw


Text = Annotated[str, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(storable)]
Id = Annotated[int | Text, AfterValidator(storable)]
"""An id, as in the file that the model was fitted to; a number may be written as text."""


def _named(name: str, **example: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", title=name, json_schema_extra={"examples": [example]})


class GivenRating(BaseModel):
    """One rating; of a model of counts, how often; of one of events, no value."""

    model_config = _named("GivenRating", item=1, rating=4.5)

    item: Id
    rating: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Pair(BaseModel):
    """A user and an item."""

    model_config = _named("Pair", user=42, item=1)

    user: Id
    item: Id


class Pairs(BaseModel):
    """Pairs to predict."""

    model_config = _named("Pairs", pairs=[{"user": 42, "item": 1}])

    pairs: Annotated[list[Pair], Field(min_length=1, max_length=MOST_PAIRS)]


class Wanted(BaseModel):
    """What a list is to be."""

    model_config = _named("Wanted", k=10)

    k: Annotated[int, Field(ge=1, le=MOST_LISTED, description="How many items.")] = 10
    rank_by: Annotated[
        Literal["preference", "rating"] | None,
        Field(description="Whose scores order the list; by default preference where it is known."),
    ] = None
    candidates: Annotated[
        list[Id] | None,
        Field(max_length=MOST_PAIRS, description="The only items to choose from."),
    ] = None
    exclude: Annotated[
        list[Id], Field(max_length=MOST_PAIRS, description="Items that must not appear.")
    ] = []
    genres: Annotated[
        list[Text] | None, Field(max_length=50, description="Of which an item must have one.")
    ] = None
    not_genres: Annotated[
        list[Text] | None, Field(max_length=50, description="Of which an item must have none.")
    ] = None
    year_from: Annotated[int | None, Field(description="The first year, of titles with one.")] = (
        None
    )
    year_to: Annotated[int | None, Field(description="The last year.")] = None
    include_rated: Annotated[
        bool, Field(description="Whether items that the user has rated may appear.")
    ] = False
    min_ratings: Annotated[
        int, Field(ge=0, le=2**31, description="Items with fewer training ratings come last.")
    ] = 5
    well_known: Annotated[
        float,
        Field(ge=-1, le=1, description="From -1, hidden items, to 1, the best known ones."),
    ] = 0.0
    diversity: Annotated[
        float, Field(ge=0, le=1, description="How much near-duplicates are thinned out.")
    ] = 0.0


class AskedPosition(BaseModel):
    """Somebody to find on the map: a user, or the ratings of somebody without an id."""

    model_config = _named("AskedPosition", ratings=[{"item": 1, "rating": 5}])

    user: Id | None = None
    ratings: Annotated[list[GivenRating] | None, Field(max_length=MOST_RATINGS)] = None
    not_interested: Annotated[list[Id], Field(max_length=MOST_RATINGS)] = []


class AskedList(Wanted):
    """A list for a user, or for the ratings of somebody without an id."""

    model_config = _named("AskedList", ratings=[{"item": 1, "rating": 5}], k=10)

    user: Id | None = None
    ratings: Annotated[list[GivenRating] | None, Field(max_length=MOST_RATINGS)] = None
    not_interested: Annotated[list[Id], Field(max_length=MOST_RATINGS)] = []
    reasons: Annotated[
        int,
        Field(
            ge=0,
            le=5,
            description="How many of the ratings that put it there are named with each of at most "
            f"{MOST_EXPLAINED} items. As explanations, they need a key where any call does.",
        ),
    ] = 0


class AskedGroup(Wanted):
    """One list for several users."""

    model_config = _named("AskedGroup", users=[1, 42], k=10)

    users: Annotated[list[Id], Field(min_length=1, max_length=MOST_MEMBERS)]


class AskedWhy(BaseModel):
    """A pair to explain, of a user or of the ratings of somebody without an id."""

    model_config = _named("AskedWhy", user=42, item=1)

    item: Id
    user: Id | None = None
    ratings: Annotated[list[GivenRating] | None, Field(max_length=MOST_RATINGS)] = None
    not_interested: Annotated[list[Id], Field(max_length=MOST_RATINGS)] = []
    of: Literal["preference", "rating"] | None = None
    k: Annotated[int, Field(ge=1, le=MOST_LISTED, description="How many parts are named.")] = 10


class SaidOfItem(BaseModel):
    """What a user says of an item: a rating, no interest, or that it is to be remembered."""

    model_config = _named("SaidOfItem", rating=4.5)

    rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    state: Literal["rating", "not-interested", "wish"] = "rating"


class SaidOfNamed(SaidOfItem):
    """The same with the item."""

    model_config = _named("SaidOfNamed", item=1, rating=4.5)

    item: Id


class SaidOfMany(BaseModel):
    """What a user says of many items: all of it is kept, or nothing."""

    model_config = _named("SaidOfMany", ratings=[{"item": 1, "rating": 4.5}])

    ratings: Annotated[list[SaidOfNamed], Field(min_length=1, max_length=MOST_RATINGS)]


class Names(BaseModel):
    """Items by id or title."""

    model_config = _named("Names", names=[1, "The Matrix", "Heat (1995)"])

    names: Annotated[list[Id], Field(min_length=1, max_length=MOST_NAMES)]


class Item(BaseModel):
    """An item by its id; title and genres where they are known."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"item": 1, "title": "Toy Story (1995)", "genres": ["Comedy"]}]
        }
    )

    item: int | str
    title: str | None = None
    genres: list[str] | None = None


class CountedItem(Item):
    """An item, and how often it was rated in training."""

    n_ratings: int


class Items(BaseModel):
    """Items that were found; ``n_found`` is how many there are in all."""

    items: list[CountedItem]
    n_found: int
    generation: int


class StartItems(BaseModel):
    """Items to begin with."""

    items: list[CountedItem]
    generation: int


class Matches(BaseModel):
    """For each name the item that is meant, None where it means none."""

    items: list[Item | None]
    generation: int


class Genre(BaseModel):
    """A genre, and how many items have it."""

    genre: str
    n_items: int


class Genres(BaseModel):
    """All genres in the order of the alphabet."""

    genres: list[Genre]
    generation: int


class PlacedItem(CountedItem):
    """An item on the map."""

    x: float
    y: float


class MapOfItems(BaseModel):
    """Items on a plane, by t-SNE or by principal components (``pca``); ``warning`` says where it cannot
    be believed.
    """

    items: list[PlacedItem]
    method: Method
    note: str
    warning: str
    generation: int


class StateOfMap(BaseModel):
    """How far the map is."""

    state: Literal["making", "ready", "none"]
    generation: int


class Position(BaseModel):
    """Where somebody is on the map, and the items that are nearest to them in the embedding."""

    x: float | None
    y: float | None
    near: list[Item]
    generation: int


class SimilarItem(CountedItem):
    """An item with the cosine of its embedding with that of another."""

    similarity: float


class ItemPage(CountedItem):
    """All that is known of an item."""

    bias: float | None = None
    mean_rating: float | None = None
    similar: list[SimilarItem]
    generation: int


class SimilarItems(BaseModel):
    """The items most like one."""

    items: list[SimilarItem]
    generation: int


class Predicted(BaseModel):
    """A prediction, and what it rests on."""

    user: int | str
    item: int | str
    prediction: float | None = None
    preference: float | None = None
    std: float | None = None
    basis: Literal["both", "user", "item", "neither"]


class Predictions(BaseModel):
    """Predictions in the order of the pairs."""

    predictions: list[Predicted]
    generation: int


class Reason(Item):
    """One of the user's ratings that put an item on the list, and what it adds to the item's score."""

    rating: float | None = None
    contribution: float


class ListedItem(Item):
    """An item of a list, with the predicted rating and the preference as far as models say them, how
    sure the prediction is (``std``) where the model keeps samples, and the reasons that were asked for.
    """

    rank: int
    prediction: float | None = None
    preference: float | None = None
    std: float | None = None
    reasons: list[Reason] | None = None


class List(BaseModel):
    """A list, best first.

    ``basis`` is ``user`` where the user is known, else ``neither``: the list is anybody's then.
    """

    items: list[ListedItem]
    basis: Literal["user", "neither"]
    n_ratings: int
    unknown: list[int | str]
    generation: int


class GroupItem(ListedItem):
    """An item of a list for several users, with the scores of each of them."""

    predictions: list[float] | None = None
    preferences: list[float] | None = None


class GroupList(BaseModel):
    """A list for several users, ordered by the mean of their scores."""

    items: list[GroupItem]
    basis: list[Literal["user", "neither"]]
    generation: int


class Why(BaseModel):
    """A prediction or preference as a sum of parts."""

    of: Literal["preference", "rating"]
    item: int | str
    title: str
    prediction: float
    folded_in: float
    difference: float
    exact: bool
    basis: str
    explains: str
    parts: list[dict[str, Any]]
    generation: int


class Said(Item):
    """What a user has said of an item; ``at`` is when, None where it is from training."""

    state: Literal["rating", "not-interested", "wish"]
    rating: float | None = None
    at: str | None = None


class NewUser(BaseModel):
    """The id of a new user."""

    user: int | str


class SaidOfAll(BaseModel):
    """All that a user has said."""

    user: int | str
    ratings: list[Said]
    n_ratings: int
    generation: int


class About(BaseModel):
    """What the model is, and how good it was on held-out ratings; ``levels`` are the ratings that people
    give, ascending, where they are steps.
    """

    generation: int
    loaded: str
    levels: list[float]
    has_std: bool
    model: dict[str, Any]


class Health(BaseModel):
    """Whether the service is there."""

    status: Literal["ok"]
    generation: int
