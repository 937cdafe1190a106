"""What all tables share: one collection, names for constraints, and types that are exact on both databases."""

from sqlalchemy import BigInteger, MetaData, Text

__all__ = ["COUNT", "METADATA", "WORDS"]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
COUNT = BigInteger()
"""64 bits on both: counts, microseconds, and money in picodollars (10⁻¹² US dollars)."""
WORDS = Text()
