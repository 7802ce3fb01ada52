"""What a user may say of an item, checked against what the model knows."""

import math

from dotbias.data.ratings import LARGEST
from dotbias.errors import SettingError
from dotbias.serving.generation import Generation
from dotbias.serving.ids import key
from dotbias.serving.store.store import Kind, State, now


def checked(generation: Generation, item: int | str, kind: Kind, rating: float | None) -> State:
    """What is to be kept.

    Args:
        generation: whose scale and ids.
        item: the item's id; one that the model does not know counts from the next fit on.
        kind: what is said.
        rating: the rating or count; None of an event, or where nothing is rated.

    Raises:
        SettingError: for a rating that is missing, outside the scale, or given where there is none, and
            for an id that cannot join.
    """
    at = key(generation, "item", item, new=True)
    named = f"item {at}"
    data = generation.recommender.facts.kind
    if kind != "rating":
        if rating is not None:
            raise SettingError(f"{named}: rating={rating:g} does not go with the state {kind}")
    elif data == "ratings":
        low, high = map(float, generation.recommender.parameters["scale"])
        if rating is None:
            raise SettingError(f"{named}: rating is missing: it must be from {low:g} to {high:g}")
        if not low <= rating <= high:
            raise SettingError(f"{named}: rating must be from {low:g} to {high:g}, not {rating:g}")
    elif data == "counts":
        if rating is None or not 0 < rating <= LARGEST:
            raise SettingError(
                f"{named}: rating must be a count above 0 and at most {LARGEST:g}, not {rating}"
            )
    else:
        rating = 1.0
    if rating is not None and not math.isfinite(rating):
        raise SettingError(f"{named}: rating must be a finite number")
    return State(at, kind, rating, now())
