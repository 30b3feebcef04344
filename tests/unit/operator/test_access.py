from __future__ import annotations

import pytest

from hammerwork_operator.databases.access import Access

LIMITED = Access(hosts=("db.example.com", "*.internal", "10.1.0.0/16", "fd00::/8", "192.0.2.7"))


@pytest.mark.parametrize(
    "host",
    ["db.example.com", "DB.Example.com.", "a.internal", "a.b.internal", "10.1.2.3:5432", "[fd00::1]:5432", "192.0.2.7"],
)
def test_an_allowed_host_is_connected_to(host: str) -> None:
    assert LIMITED.refusal(f"postgresql://u:p@{host}/jobs") is None
    assert LIMITED.refusal(f"mysql://u:p@{host}/jobs") is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:p@example.com/jobs", "'example.com'"),
        ("postgresql://u:p@db.example.com.evil.org/jobs", "'db.example.com.evil.org'"),
        ("postgresql://u:p@internal/jobs", "'internal'"),
        ("postgresql://u:p@10.2.0.1/jobs", "'10.2.0.1'"),
        ("postgresql://u:p@169.254.169.254:80/jobs", "'169.254.169.254'"),
        ("postgresql://u:p@0x0a010203/jobs", "'0x0a010203'"),  # 10.1.2.3 for some, but nobody writes that
        ("postgresql://u:p@db.example.com,other/jobs", "'other'"),
        ("postgresql:///jobs?host=other:1,db.example.com", "'other'"),
        ("postgresql:///jobs?host=[fe80::1]", "'fe80::1'"),
        ("mysql://u:p@other/jobs", "'other'"),
    ],
)
def test_any_other_host_is_named(url: str, told: str) -> None:
    refusal = LIMITED.refusal(url)
    assert refusal is not None
    assert f"may not connect to host {told};" in refusal
    assert Access().refusal(url) is None


@pytest.mark.parametrize(
    "url", ["postgresql:///jobs", "mysql:///jobs", "postgresql://%2Ftmp/jobs", "mysql://h/j?unix_socket=/s"]
)
def test_a_socket_is_no_host(url: str) -> None:
    assert "not by a socket" in str(Access().refusal(url))


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("sslrootcert=/etc/ssl/certs/ca-certificates.crt", True),
        ("ssl_ca=/etc/ssl/private-ca/ca.pem", True),
        ("sslrootcert=/etc/sslx/ca.pem", False),
        ("ssl_ca=/etc/ssl/../passwd", False),
        ("sslcrl=crl.pem", False),
        ("sslkey=/etc/ssl/key.pem", False),
        ("passfile=/etc/ssl/passwords", False),
    ],
)
def test_files_are_certificates_of_one_folder(option: str, allowed: bool) -> None:
    assert (Access().refusal(f"postgresql://h/jobs?{option}") is None) is allowed
