from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from blindproof.authority import LIFETIME, Authority, AuthorityError, Purpose
from blindproof.cli import app

DAY = dt.timedelta(days=1)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        *found.get_values_for_type(x509.DNSName),
        *map(str, found.get_values_for_type(x509.IPAddress)),
    }


def test_an_authority_that_was_kept_signs_again(tmp_path):
    made = Authority.fresh("clinic", 30 * DAY)
    made.save(tmp_path)
    loaded = Authority.load(tmp_path)
    certificate = read(loaded.issue(tmp_path, "one")[0])
    certificate.verify_directly_issued_by(made.certificate)
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)


def test_files_are_their_owners_only(tmp_path):
    authority = Authority.fresh()
    written = [authority.save(tmp_path), tmp_path / "ca.key.pem", *authority.issue(tmp_path, "one")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}


def test_certificates_are_for_one_purpose(tmp_path):
    authority = Authority.fresh()
    hosts = ["host.example", "10.0.0.7", "[::1]"]
    server, _ = authority.issue(tmp_path, "server", hosts=hosts, purpose=Purpose.SERVER)
    client, _ = authority.issue(tmp_path, "client", purpose=Purpose.CLIENT)
    assert usages(read(server)) == {ExtendedKeyUsageOID.SERVER_AUTH}
    assert names(read(server)) == {"host.example", "10.0.0.7", "::1"}
    assert usages(read(client)) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    with pytest.raises(x509.ExtensionNotFound):
        names(read(client))
    assert not read(client).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_no_certificate_outlives_its_authority(tmp_path):
    authority = Authority.fresh(lifetime=LIFETIME)
    certificate, _ = authority.issue(tmp_path, "one", lifetime=90 * DAY)
    assert read(certificate).not_valid_after_utc == authority.certificate.not_valid_after_utc
    expired = Authority.fresh(lifetime=-dt.timedelta(minutes=1))
    with pytest.raises(AuthorityError, match="expired"):
        expired.issue(tmp_path, "two")


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "../one", "a/b", ".hidden", "line\n", "ca", "ca.key", "one.key"]
)
def test_names_that_no_file_or_certificate_has_are_refused(tmp_path, name: str):
    authority = Authority.fresh()
    authority.save(tmp_path)
    with pytest.raises(AuthorityError):
        authority.issue(tmp_path, name)
    assert Authority.load(tmp_path).key.private_numbers() == authority.key.private_numbers()


@pytest.mark.parametrize("hosts", [[], ["two words"], ["-host"], ["host_name"], ["a..b"], ["ä"]])
def test_a_server_is_somewhere(tmp_path, hosts):
    with pytest.raises(AuthorityError, match=r"host|address"):
        Authority.fresh().issue(tmp_path, "one", hosts=hosts)


def test_nothing_is_overwritten(tmp_path):
    authority = Authority.fresh()
    authority.save(tmp_path)
    with pytest.raises(AuthorityError, match=r"ca\.pem is there already"):
        Authority.fresh().save(tmp_path)
    (tmp_path / "ca.pem").unlink()  # half an authority is one too
    with pytest.raises(AuthorityError, match=r"ca\.key\.pem is there already"):
        Authority.fresh().save(tmp_path)
    certificate, _ = authority.issue(tmp_path, "one", replace=False)
    before = certificate.read_bytes()
    with pytest.raises(AuthorityError, match=r"one\.pem is there already"):
        authority.issue(tmp_path, "one", replace=False)
    assert certificate.read_bytes() == before
    authority.issue(tmp_path, "one", replace=True)
    assert certificate.read_bytes() != before


def test_what_is_no_authority_is_said(tmp_path):
    with pytest.raises(AuthorityError, match=r"ca\.pem: No such file.*ca create"):
        Authority.load(tmp_path)
    Authority.fresh().save(tmp_path)
    Authority.fresh().write(tmp_path / "ca.pem")
    with pytest.raises(AuthorityError, match="not the one of its certificate"):
        Authority.load(tmp_path)
    (tmp_path / "ca.key.pem").write_text("junk")
    with pytest.raises(AuthorityError, match="holds no authority"):
        Authority.load(tmp_path)


# The command.


def run(*arguments: object) -> list[str]:
    result = CliRunner().invoke(app, ["ca", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_three_commands_make_all_that_mutual_tls_needs(tmp_path):
    home = tmp_path / "ca"
    (ca,) = run("create", "--directory", home, "--name", "clinic", "--days", 30)
    assert ca == str(home / "ca.pem")
    server, server_key = run("server", "localhost", "127.0.0.1", "--directory", home)
    client, client_key = run("client", "ward 7", "--directory", home, "--into", tmp_path / "ward")
    assert (server, server_key) == (str(home / "localhost.pem"), str(home / "localhost.key.pem"))
    assert (client, client_key) == (
        str(tmp_path / "ward" / "ward 7.pem"),
        str(tmp_path / "ward" / "ward 7.key.pem"),
    )
    authority = read(Path(ca))
    for path, usage in (
        (server, ExtendedKeyUsageOID.SERVER_AUTH),
        (client, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        certificate = read(Path(path))
        certificate.verify_directly_issued_by(authority)
        assert usages(certificate) == {usage}
    lifetime = authority.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert abs(lifetime - 30 * DAY) < dt.timedelta(minutes=5)


def test_the_command_replaces_when_it_is_told_to(tmp_path):
    run("create", "--directory", tmp_path)
    client, _ = run("client", "one", "--directory", tmp_path)
    before = Path(client).read_bytes()
    refused = CliRunner().invoke(app, ["ca", "client", "one", "--directory", str(tmp_path)])
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
    run("client", "one", "--directory", tmp_path, "--replace")
    assert Path(client).read_bytes() != before
    again = CliRunner().invoke(app, ["ca", "create", "--directory", str(tmp_path)])
    assert again.exit_code == 2
