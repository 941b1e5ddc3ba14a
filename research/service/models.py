"""
The service's tables, beside the journal's in the same database, with a schema history of their own.

Times are UTC nanoseconds of the wall clock. A result is JSON as ``node.backtest --json`` writes it.
"""

from sqlalchemy import BigInteger, Boolean, Double, Index, MetaData, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Declarative base with fixed constraint names, as the journal's."""

    metadata = MetaData(
        naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
    )
    type_annotation_map = {int: BigInteger, float: Double, str: Text, bool: Boolean}  # noqa: RUF012 - SQLAlchemy reads it from the class


class JobRow(Base):
    """One job: what was asked for, who works on it, how it ended."""

    __tablename__ = "backtest_jobs"
    __table_args__ = (Index(None, "state", "created"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    created: Mapped[int]
    state: Mapped[str]
    config: Mapped[str]
    config_hash: Mapped[str]
    attempt: Mapped[int]
    worker: Mapped[str | None]
    lease_until: Mapped[int | None]
    cancel: Mapped[bool]
    progress: Mapped[float]
    started: Mapped[int | None]
    finished: Mapped[int | None]
    error: Mapped[str | None]
    trial: Mapped[str | None]


class ResultRow(Base):
    """The result of a finished job."""

    __tablename__ = "backtest_results"
    id: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[str]


JOBS: Table = Base.metadata.tables["backtest_jobs"]
RESULTS: Table = Base.metadata.tables["backtest_results"]
VERSION_TABLE = "backtest_service_version"
