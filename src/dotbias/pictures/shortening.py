"""Names that are too long for a picture."""

import re


def shortened(text: str, letters: int) -> str:
    """A text of at most so many letters in one line; a year at its end stays whole.

    >>> shortened("Lord of the Rings: The Fellowship of the Ring, The (2001)", 28)
    'Lord of the Rings: T… (2001)'
    """
    text = " ".join(text.split())
    if len(text) <= letters:
        return text
    found = re.search(r" \(\d{4}\)$", text)
    year = found[0] if found and letters > 12 else ""
    return f"{text[: letters - 1 - len(year)].rstrip()}…{year}"
