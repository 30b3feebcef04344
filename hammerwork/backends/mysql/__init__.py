"""MySQL and MariaDB, through aiomysql."""

from hammerwork.backends.mysql.backend import MysqlBackend

__all__ = ["MysqlBackend"]
