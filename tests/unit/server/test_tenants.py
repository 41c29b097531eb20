"""The tenants file: what it may say, and whom it names."""

from __future__ import annotations

import pytest

from server.identity import Principal, Role
from server.quotas import Quota
from server.tenants import Claims, TenantsError, read_tenants

OIDC = """
[oidc]
issuer = "https://login.example"
audience = "blindproof"
jwks = "{jwks}"
{more}
"""
CLAIMED = 'tenant_claim = "org"\nroles_claim = ["realm", "roles"]'


def oidc(jwks: str = "keys.json", more: str = "") -> str:
    return OIDC.format(jwks=jwks, more=more)


def tenant(name: str, certificates: str = "", subjects: str = "") -> str:
    return f'[[tenants]]\nname = "{name}"\n[tenants.certificates]\n{certificates}\n' + (
        f"[tenants.subjects]\n{subjects}\n" if subjects else ""
    )


@pytest.fixture
def read(tmp_path):
    def reading(text: str):
        path = tmp_path / "tenants.toml"
        path.write_text(text)
        return read_tenants(path)

    return reading


def test_a_file_says_who_may_do_what(read):
    directory = read(
        oidc()
        + tenant("ward-a", '"gateway" = ["predict", "audit"]', '"7f" = ["publish"]')
        + tenant("ward-b", '"7f" = []')
    )
    assert directory.names == {"ward-a", "ward-b"}
    found = directory.by_certificate("gateway")
    assert found == Principal("ward-a", "gateway", frozenset({Role.PREDICT, Role.AUDIT}))
    # The two kinds of names are apart.
    assert directory.by_certificate("7f") == Principal("ward-b", "7f", frozenset())
    found = directory.by_token(Claims("7f"))
    assert found == Principal("ward-a", "7f", frozenset({Role.PUBLISH}), by_token=True)
    assert directory.by_token(Claims("gateway")) is None
    assert directory.by_certificate("Gateway") is None
    # What a token says of its tenant counts only where the file says so.
    assert directory.by_token(Claims("x", "ward-b", frozenset({"audit"}))) is None


def test_an_issuer_may_say_who_belongs(read):
    directory = read(oidc(more=CLAIMED) + tenant("ward-a", '"gateway" = ["audit"]'))
    found = directory.by_token(Claims("x", "ward-a", frozenset({"audit", "admin", "PREDICT"})))
    assert found == Principal("ward-a", "x", frozenset({Role.AUDIT}), by_token=True)
    assert directory.by_token(Claims("x", "ward-b", frozenset({"audit"}))) is None
    assert directory.by_token(Claims("x", None)) is None
    # Nobody is issued the name of a device.
    assert directory.by_token(Claims("gateway", "ward-a", frozenset({"predict"}))) is None


def test_quotas(read):
    text = '[[tenants]]\nname = "a"\n[tenants.quota]\nrequests = 60\nplaces = 2\n'
    assert read(text).quotas == {"a": Quota(requests=60, places=2)}
    assert read(tenant("a")).quotas == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "tenants: Field required"),
        ("tenants = []", "at least 1"),
        ("tenants = nonsense", "Invalid value"),
        (tenant("../up"), "tenant's name"),
        (tenant("a/b"), "tenant's name"),
        (tenant("."), "tenant's name"),
        (tenant("A"), "tenant's name"),
        (tenant("-a"), "tenant's name"),
        (tenant("a\\n"), "tenant's name"),
        (tenant("a" * 64), "tenant's name"),
        (tenant(""), "tenant's name"),
        (tenant("{tenant}"), "tenant's name"),
        (tenant("a") + tenant("a"), "tenant 'a' is there twice"),
        (tenant("a", '"x" = []') + tenant("b", '"x" = []'), "certificate 'x' is there twice"),
        (
            oidc() + tenant("a", "", '"x" = []') + tenant("b", "", '"x" = []'),
            "subject 'x' is there twice",
        ),
        (oidc() + tenant("a", '"x" = []', '"x" = []'), "'x' is a certificate and a subject"),
        (tenant("a", "", '"x" = []'), "no tokens are taken"),
        (oidc(more=CLAIMED) + tenant("a", "", '"x" = []'), "tokens say who belongs"),
        (tenant("a", '"x" = ["admin"]'), "'predict', 'publish' or 'audit'"),
        (tenant("a", '"x" = "predict"'), "frozenset"),
        (tenant("a", '"" = []'), "printable"),
        (tenant("a", '" x" = []'), "printable"),
        (tenant("a", '"a\\u0000b" = []'), "printable"),
        (tenant("a") + 'secret = "x"', "printable|frozenset|Extra"),
        ('[[tenants]]\nname = "a"\nmember = 1', "Extra inputs"),
        ('[[tenants]]\nname = "a"\n[tenants.quota]\nrequest = 1', "no quota of 'request'"),
        ('[[tenants]]\nname = "a"\n[tenants.quota]\nrequests = -1', "positive"),
        (oidc("http://login.example/keys") + tenant("a"), "expected https"),
        (oidc("file:///etc/passwd") + tenant("a"), "expected https"),
        (oidc("ftp://login.example/keys") + tenant("a"), "expected https"),
        (oidc("https://") + tenant("a"), "expected https"),
        (oidc("https://user:word@login.example/keys") + tenant("a"), "expected https"),
        (oidc(more='tenant_claim = "org"') + tenant("a"), "together, or neither"),
        (oidc(more='algorithms = ["HS256"]') + tenant("a"), "Extra inputs"),
        ("x = " + "[" * 10_000, "."),
    ],
    ids=lambda value: value[-60:],
)
def test_what_is_no_directory_is_refused_with_the_reason(read, text, complaint):
    with pytest.raises(TenantsError, match=complaint) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_too_many_tenants_are_refused(read):
    with pytest.raises(TenantsError, match="at most 256"):
        read("".join(tenant(f"t{number}") for number in range(257)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TenantsError, match=r"none\.toml: No such file"):
        read_tenants(tmp_path / "none.toml")
    with pytest.raises(TenantsError, match=r"not a regular file|Is a directory"):
        read_tenants(tmp_path)


def test_paths_are_relative_to_the_file(read, tmp_path):
    issuer = read(oidc(more='ca = "ca.pem"') + tenant("a")).oidc
    assert issuer is not None
    assert issuer.jwks == str(tmp_path / "keys.json")
    assert issuer.ca == tmp_path / "ca.pem"
    located = read(oidc("https://login.example/keys") + tenant("a")).oidc
    assert located is not None
    assert located.jwks == "https://login.example/keys"


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        (tenant("a", '"x" = ["predict", "audit"]'), True),
        (tenant("a", '"x" = ["predict"]'), True),
        (tenant("a", '"x" = ["audit"]'), False),
        (tenant("a", '"y" = ["predict"]'), False),
        (tenant("b", '"x" = ["predict"]'), False),
        (oidc() + tenant("a", "", '"x" = ["predict"]'), False),
        (oidc(more=CLAIMED) + tenant("a"), False),
    ],
)
def test_whoever_was_served_by_certificate_stands_while_it_may_do_as_much(read, text, stands):
    served = Principal("a", "x", frozenset({Role.PREDICT}))
    assert read(text).stands(served) is stands


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        (oidc() + tenant("a", "", '"x" = ["predict"]'), True),
        (oidc() + tenant("a", "", '"x" = []'), False),
        (oidc() + tenant("a", "", '"y" = ["predict"]'), False),
        (oidc() + tenant("b", "", '"x" = ["predict"]'), False),
        (tenant("a", '"x" = ["predict"]'), False),
        (oidc(more=CLAIMED) + tenant("a"), True),
        (oidc(more=CLAIMED) + tenant("a", '"x" = ["predict"]'), False),
        (oidc(more=CLAIMED) + tenant("b"), False),
    ],
)
def test_whoever_was_served_by_token_stands_while_it_may_do_as_much(read, text, stands):
    served = Principal("a", "x", frozenset({Role.PREDICT}), by_token=True)
    assert read(text).stands(served) is stands
