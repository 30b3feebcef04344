"""Database URLs that cannot be used are refused before anything is connected; no text shows what is secret in them."""

from __future__ import annotations

import logging
import traceback
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hammerwork import HammerworkError, JobQueue, UnsupportedDatabaseError
from hammerwork.backends.mysql.options import connection_options as mysql_options
from hammerwork.backends.postgres.options import connection_options as postgres_options
from hammerwork.backends.urls import parse_url
from hammerwork.handlers import HandlerReference
from hammerwork.working.settings import ProcessSettings


@pytest.mark.parametrize("around", [" ", "\n", "\r\n", "\t  "])
def test_whitespace_around_a_url_does_not_count(around: str) -> None:
    found = parse_url(f"{around}postgresql://app:Geheim@h/jobs?sslmode=disable{around}")
    assert (found.user, found.password, found.options) == ("app", "Geheim", {"sslmode": "disable"})


SCHEMES = ["postgresql", "postgres", "mysql", "mariadb"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///jobs.db", "scheme 'sqlite': not supported; use postgresql://"),
        ("localhost/jobs", "it does not begin with a scheme"),
        ("app:Geheim42@h/jobs", "it does not begin with a scheme"),
        ("postgresql://localhost:fivefour/jobs", "host 1: its port is not a number"),
        ("mysql://localhost:99999/jobs", "host 1: its port is not a number from 1 to 65535"),
        ("postgresql://h1,h2:0/jobs", "host 2: its port is not a number from 1 to 65535"),
        ("postgresql://[::1/jobs", "host 1: its IPv6 address is not valid"),
        ("postgresql://h/jobs?sslmode", "option 1 of the query part is not written as name=value"),
        ("postgresql://h/jobs#1", "it has a fragment, that is, a #"),
        ("postgresql://app:%FF@h/jobs", "its password is not UTF-8"),
        ("postgresql://app:a%00b@h/jobs", "or contains the character NUL"),
        ("postgresql://h/jobs?statement_cache_size=none", "option statement_cache_size: 'none' must be a whole number"),
        (
            "postgresql://h/jobs?sslrootcert=/nowhere/ca.pem",
            "option sslrootcert: file '/nowhere/ca.pem' does not exist",
        ),
        ("mysql://h/jobs?ssl_ca=/nowhere/ca.pem", "option ssl_ca: file '/nowhere/ca.pem' does not exist"),
        ("mysql://h1,h2/jobs", "2 hosts; MySQL and MariaDB take one"),
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_with_its_reason(url: str, reason: str) -> None:
    with pytest.raises(HammerworkError, match=r"^database URL") as refused:
        await JobQueue.connect(url)
    assert reason in str(refused.value)
    assert "Geheim" not in str(refused.value)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "password", ["Geheim/42", "Geheim#42", "Geheim?42", "Geheim?x=42", "42/Geheim", "/Geheim", "#Geheim"]
)
async def test_a_password_that_had_to_be_encoded_is_told_and_not_shown(scheme: str, password: str) -> None:
    with pytest.raises(UnsupportedDatabaseError, match="must be percent-encoded") as refused:
        await JobQueue.connect(f"{scheme}://app:{password}@h/db")
    assert "Geheim" not in everything(refused.value)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "password", ["Geheim℀42", "Geheim%42", "Geheim%zz", "Geheim@42", "Ge heim", "Geheim:42", "[Geheim]"]
)
def test_a_password_with_odd_characters_is_understood(scheme: str, password: str) -> None:
    raw = parse_url(f"{scheme}://app:{password.replace('%42', '%2542')}@h:1/db")
    assert (raw.user, raw.password, raw.hosts, raw.database) == ("app", password, (("h", 1),), "db")


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=3, max_size=12)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    word=words,
    scheme=st.sampled_from(SCHEMES),
    encode=st.booleans(),
    rest=st.sampled_from(
        [
            *(
                "h/",
                "h:port/~",
                "h:0/~",
                "[::1/~",
                "h/~?nothing=1&mode",
                "h/~?sslmode=q",
                "h/~?ssl_mode=q",
                "127.0.0.1:1/~",
            ),
            *(
                "127.0.0.1:1,127.0.0.1:1/~?target_session_attrs=q",
                "h/~?statement_cache_size=q",
                "[::1]:1/~",
                "h.invalid/~",
            ),
            *("/~?host=/nowhere", "127.0.0.1:1/~?user=q&password=~~~~&x=1", "127.0.0.1:1/~?sslmode=require&nothing=~"),
        ]
    ),
)
async def test_no_text_shows_a_password(
    word: str, scheme: str, encode: bool, rest: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Marked, so that no other text can hold it by chance.
    password = f"{word[:1]}Qz7{word[1:]}"
    url = f"{scheme}://app:{quote(password, safe='') if encode else password}@{rest}"
    with caplog.at_level(logging.DEBUG), pytest.raises(HammerworkError) as refused:
        await JobQueue.connect(url, connect_timeout=5)
    shown = everything(refused.value) + caplog.text
    assert "Qz7" not in shown
    assert "\n" not in str(refused.value)


def everything(error: BaseException) -> str:
    """Return all texts of an error and of what led to it, whether Python would show it or not."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and found not in seen:
            seen.append(found)
            waiting += [found.__cause__, found.__context__ if not found.__suppress_context__ else None]
    texts = [f"{each} {each!r} {each.args!r}" for each in seen]
    return "\n".join(
        [*texts, "".join(line for line in traceback.format_exception(error) if not line.startswith("  File"))]
    )


def test_addresses_show_hosts_and_database_only() -> None:
    url = parse_url("postgresql://app:Geheim@h1:5433,[::1],h3/a%2Fb?password=Auch")
    assert repr(url) == str(url) == "postgresql://h1:5433,[::1],h3/a%2Fb"
    assert url.address(port=5432) == "postgresql://h1:5433,[::1]:5432,h3:5432/a%2Fb"
    assert url.redact("for user app, password Geheim or Auch") == "for user app, password *** or ***"


def test_settings_of_workers_do_not_show_the_url() -> None:
    settings = ProcessSettings(
        database_url="postgresql://app:Geheim@h/db", queue="q", handler=HandlerReference.from_text("m:f")
    )
    assert "Geheim" not in f"{settings} {settings!r}"


def test_several_hosts_and_options_reach_the_driver_of_postgresql() -> None:
    url = parse_url(
        "postgresql://u:p%2F%40@h1:5433,h2/db?target_session_attrs=read-write&statement_cache_size=0"
        "&max_cached_statement_lifetime=60&search_path=a%26b"
    )
    assert postgres_options(url) == {
        "dsn": "postgresql://?target_session_attrs=read-write&search_path=a%26b",
        "host": ["h1", "h2"],
        "port": [5433, 5432],
        "user": "u",
        "password": "p/@",
        "database": "db",
        "statement_cache_size": 0,
        "max_cached_statement_lifetime": 60,
    }
    assert postgres_options(parse_url("postgresql:///db")) == {"dsn": "postgresql://", "database": "db"}


def test_passwords_reach_servers_of_mysql_as_utf8() -> None:
    options = mysql_options("mysql://app:%E2%84%80x@h/db")
    assert options["password"].encode("latin-1") == "℀x".encode()
    assert (options["host"], options["port"], options["db"], options["user"]) == ("h", 3306, "db", "app")
