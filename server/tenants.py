"""The tenants file: which organisations a server serves, and who of them may do what.

    [oidc]                                  # only where tokens are taken
    issuer = "https://login.example"
    audience = "blindproof"
    jwks = "https://login.example/keys"     # or a file; paths are relative to this one
    # ca = "internal-ca.pem"                # authority of that URL, if it is not a public one
    # tenant_claim = "tenant"               # both or neither: the issuer then says what
    # roles_claim = ["realm", "roles"]      # `subjects` would say; a list leads into objects

    [[tenants]]
    name = "ward-a"
    [tenants.quota]                         # see `server.quotas`; the server's default if absent
    requests = 600
    [tenants.certificates]                  # by the common name of a client's certificate
    "gateway-1" = ["predict"]
    [tenants.subjects]                      # by the claim `sub` of a token
    "7d1f0a52" = ["publish", "audit"]

Names in certificates and subjects of tokens are two kinds of names: each belongs to one tenant at
most.  Within a tenant no name is of both kinds: keys and receipts do not tell them apart.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from protocol.errors import BlindproofError, EncodingError
from protocol.parameters import MAX_IDENTITY
from server.identity import Principal, Role
from server.quotas import Quota
from wire.files import read_regular

MAX_FILE_BYTES = 4 << 20
MAX_TENANTS = 256
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

ClaimPath: TypeAlias = tuple[str, ...]
"""Where a claim is: one name, or the names of nested objects that lead to it."""


class TenantsError(BlindproofError):
    """The tenants file cannot be read, or does not say what it must."""


@dataclass(frozen=True)
class Claims:
    """What a token says, its signature verified.

    Attributes:
        subject: whom it was issued to.
        tenant, roles: as the issuer states them; None and empty if it is not asked for them.
    """

    subject: str
    tenant: str | None = None
    roles: frozenset[str] = frozenset()


def _require_tenant_name(name: str) -> str:
    # A name is a part of paths and of the log's name.
    if _NAME.fullmatch(name) is None:
        raise ValueError("a tenant's name has 1 to 63 lower-case letters, digits or hyphens")
    return name


def _require_identity(name: str) -> str:
    if not 0 < len(name) <= MAX_IDENTITY or not name.isprintable() or name != name.strip():
        raise ValueError(f"an identity has 1 to {MAX_IDENTITY} printable characters")
    return name


def _as_path(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _require_known_fields(value: object) -> object:
    # Of a data class pydantic ignores them: a misspelt quota would be none.
    if isinstance(value, dict):
        unknown = value.keys() - {field.name for field in fields(Quota)}
        if unknown:
            raise ValueError(f"there is no quota of '{min(unknown)}'")
    return value


_Identity: TypeAlias = Annotated[str, AfterValidator(_require_identity)]
_Claim: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_as_path),
    Field(min_length=1, max_length=8),
]


class Issuer(BaseModel):
    """Whose tokens are taken.

    Attributes:
        issuer: the claim `iss`, exactly.
        audience: what the claim `aud` must name.
        jwks: where its keys are: an https URL or a path.
        ca: PEM file of the authority of that URL's certificate; the system's if None.
        tenant_claim, roles_claim: claims that say tenant and roles, both or neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks: str = Field(min_length=1)
    ca: Path | None = None
    tenant_claim: _Claim | None = None
    roles_claim: _Claim | None = None

    @property
    def states_members(self) -> bool:
        """Whether tokens say tenant and roles, rather than the file."""
        return self.tenant_claim is not None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if (self.tenant_claim is None) != (self.roles_claim is None):
            raise ValueError("tenant_claim and roles_claim are given together, or neither")
        if "://" in self.jwks:
            url = urlsplit(self.jwks)
            # Whoever can change keys under way signs tokens: nothing but https, and no file: URL.
            if url.scheme != "https" or not url.hostname or url.username is not None:
                raise ValueError("jwks: expected https://host/path, or a path")
        return self


class Tenant(BaseModel):
    """One organisation.

    Attributes:
        name: a DNS label.
        quota: what it may use; the server's default if None.
        certificates: roles by common name of a client's certificate.
        subjects: roles by the subject of a token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_require_tenant_name)]
    quota: Annotated[Quota | None, BeforeValidator(_require_known_fields)] = None
    certificates: dict[_Identity, frozenset[Role]] = Field(default_factory=dict)
    subjects: dict[_Identity, frozenset[Role]] = Field(default_factory=dict)


class Directory(BaseModel):
    """The tenants of a server, and who belongs to them.

    Attributes:
        tenants: each name once.
        oidc: whose tokens are taken; none if None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenants: tuple[Tenant, ...] = Field(min_length=1, max_length=MAX_TENANTS)
    oidc: Issuer | None = None

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        _require_once("tenant", (tenant.name for tenant in self.tenants))
        _require_once("certificate", self._names("certificates"))
        _require_once("subject", self._names("subjects"))
        for tenant in self.tenants:
            both = tenant.certificates.keys() & tenant.subjects.keys()
            if both:
                raise ValueError(
                    f"tenant '{tenant.name}': '{min(both)}' is a certificate and a subject"
                )
            if tenant.subjects and (self.oidc is None or self.oidc.states_members):
                raise ValueError(
                    f"tenant '{tenant.name}' lists subjects, and "
                    + ("no tokens are taken" if self.oidc is None else "tokens say who belongs")
                )
        return self

    def _names(self, kind: str) -> Iterator[str]:
        return (name for tenant in self.tenants for name in getattr(tenant, kind))

    @property
    def names(self) -> frozenset[str]:
        """Of the tenants."""
        return frozenset(tenant.name for tenant in self.tenants)

    @property
    def quotas(self) -> dict[str, Quota]:
        """Of the tenants that have one of their own."""
        return {tenant.name: tenant.quota for tenant in self.tenants if tenant.quota is not None}

    @property
    def lists_certificates(self) -> bool:
        """Whether anybody is known by a certificate."""
        return any(tenant.certificates for tenant in self.tenants)

    def by_certificate(self, name: str) -> Principal | None:
        """Whom a certificate's name stands for; None for nobody."""
        for tenant in self.tenants:
            if name in tenant.certificates:
                return Principal(tenant.name, name, tenant.certificates[name])
        return None

    def by_token(self, claims: Claims) -> Principal | None:
        """Whom a token stands for; None for nobody."""
        if self.oidc is None:
            return None
        if not self.oidc.states_members:
            for tenant in self.tenants:
                if claims.subject in tenant.subjects:
                    roles = tenant.subjects[claims.subject]
                    return Principal(tenant.name, claims.subject, roles, by_token=True)
            return None
        for tenant in self.tenants:
            # An issuer that lets people choose their subject must not give them a device's name.
            if tenant.name == claims.tenant and claims.subject not in tenant.certificates:
                roles = frozenset(role for role in Role if role in claims.roles)
                return Principal(tenant.name, claims.subject, roles, by_token=True)
        return None

    def stands(self, principal: Principal) -> bool:
        """Whether somebody who was served before may still do all that it could.

        What an issuer has stated in a token stands as long as its tenant does.
        """
        tenant = next((tenant for tenant in self.tenants if tenant.name == principal.tenant), None)
        if tenant is None or principal.client_id is None:
            return False
        if not principal.by_token:
            listed = tenant.certificates.get(principal.client_id)
        elif self.oidc is not None and self.oidc.states_members:
            return principal.client_id not in tenant.certificates
        else:
            listed = tenant.subjects.get(principal.client_id)
        return listed is not None and principal.roles <= listed


def read_tenants(path: Path) -> Directory:
    """Read and judge a tenants file.

    Raises:
        TenantsError: it cannot be read, or says something else than a directory.
    """
    try:
        text = read_regular(path, MAX_FILE_BYTES).decode()
        return _directory(tomllib.loads(text), path)
    except OSError as error:
        raise TenantsError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise TenantsError(f"{path}: {where}{': ' if where else ''}{said}") from None
    except (EncodingError, ValueError, RecursionError) as error:
        raise TenantsError(f"{path}: {error}") from None


def _directory(content: Mapping[str, Any], path: Path) -> Directory:
    """Raises ValidationError."""
    directory = Directory.model_validate(content)
    issuer = directory.oidc
    if issuer is None:
        return directory
    beside = path.absolute().parent
    jwks = issuer.jwks if "://" in issuer.jwks else str(beside / issuer.jwks)
    ca = None if issuer.ca is None else beside / issuer.ca
    located = issuer.model_copy(update={"jwks": jwks, "ca": ca})
    return directory.model_copy(update={"oidc": located})


def _require_once(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{kind} '{name}' is there twice")
        seen.add(name)
