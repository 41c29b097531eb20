"""Who calls: what a transport shows of its peer, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from server.refusals import Refusal
from wire.rpc import Reason


class Role(StrEnum):
    """What an identity may do within its tenant."""

    PREDICT = "predict"
    PUBLISH = "publish"
    AUDIT = "audit"


@dataclass(frozen=True)
class Shown:
    """What a peer has shown of itself; nobody has judged it yet but TLS.

    Attributes:
        common_names: of the certificate that it proved to hold, under an authority of ours.
        bearer: the token of its `authorization` header.
    """

    common_names: tuple[str, ...] = ()
    bearer: str | None = None


@dataclass(frozen=True)
class Principal:
    """Whoever a call is served for.

    Attributes:
        tenant: the organisation it belongs to.
        client_id: the identity it may call itself; None if it is taken at its word.
        roles: what it may do.
        by_token: whether a token says so, rather than a certificate.
    """

    tenant: str
    client_id: str | None
    roles: frozenset[Role]
    by_token: bool = False


class Identification(Protocol):
    """Decides whose call it is."""

    async def identify(self, shown: Shown) -> Principal:
        """The principal of a peer.

        Raises:
            Refusal: it has shown nothing that says who it is (unauthenticated), or somebody who is
                not served here (identity-refused).
        """


class Anyone:
    """One tenant, whose models everybody may use who can connect; nobody publishes or audits."""

    def __init__(self, tenant: str, *, certificates: bool) -> None:
        """Configure.

        Args:
            tenant: of every call.
            certificates: whether TLS demands one, whose name is then the client's.
        """
        self._tenant = tenant
        self._certificates = certificates

    async def identify(self, shown: Shown) -> Principal:
        """See `Identification`."""
        client_id = None
        if self._certificates:
            if len(shown.common_names) != 1:
                raise Refusal(
                    Reason.UNAUTHENTICATED, "the certificate does not have one common name"
                )
            client_id = shown.common_names[0]
        return Principal(self._tenant, client_id, frozenset({Role.PREDICT}))
