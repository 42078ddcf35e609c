"""The schema's history: each step from one version to the next, applied in order when a database is opened."""

import alembic.command
import alembic.config
import sqlalchemy as sa


def upgrade(connection: sa.Connection, to: str = "head") -> None:
    """Bring this database up to date, or up to an older version, in the transaction that is open."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "hutch.store:migrations")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, to)
