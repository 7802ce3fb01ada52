"""Tables of a service's database. How older ones become these, say the migrations beside this file."""

from sqlalchemy import BigInteger, Column, Float, MetaData, String, Table

METADATA = MetaData()

STATES = Table(
    "states",
    METADATA,
    Column("user_id", String, primary_key=True),
    Column("item_id", String, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("value", Float),
    Column("time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What each user has last said of each item: at most one row a pair. ``kind`` is a ``Kind``,
``value`` the rating or count of those that have one, ``time`` milliseconds since 1970."""

ERASED = Table(
    "erased",
    METADATA,
    Column("mark", String(64), primary_key=True),
    sqlite_with_rowid=False,
)
"""Users who have had everything of theirs deleted, as keyed hashes: a model that was fitted before must
not bring their ratings back."""

KEYS = Table(
    "keys",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("made", BigInteger, nullable=False),
)
"""API keys, hashed."""

FACTS = Table(
    "facts",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", String, nullable=False),
)
"""What is true of the whole database: how many changes there were, the secret of the marks."""
