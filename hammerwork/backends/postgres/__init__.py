"""PostgreSQL, through asyncpg."""

from hammerwork.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
