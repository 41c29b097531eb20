"""Who is served in a server of several tenants: certificate, token, both; and another file."""

from __future__ import annotations

import asyncio
import threading

import pytest

from server.calls import Calls
from server.identity import Principal, Role, Shown
from server.quotas import Quota, Quotas
from server.refusals import Refusal
from server.rooms import Place
from server.settings import ServerSettings
from server.starting import ServerError
from server.tenancy import Tenancy
from server.tenants import TenantsError
from tests.integration.tenant_world import AUDIENCE, ISSUER, Issuer
from wire.rpc import Reason

MEMBERS = """
[[tenants]]
name = "a"
[tenants.certificates]
"device" = ["publish", "audit"]
[tenants.subjects]
"person" = ["predict"]
[[tenants]]
name = "b"
[tenants.certificates]
"other device" = ["predict"]
[tenants.subjects]
"other person" = ["predict"]
"""
OIDC = f'[oidc]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks = "keys.json"\n'


@pytest.fixture
def issuer(tmp_path) -> Issuer:
    issuer = Issuer()
    (tmp_path / "keys.json").write_text(issuer.key_set())
    return issuer


@pytest.fixture
def opened(tmp_path, issuer):
    """Opens the tenants of a file, with a client authority unless told otherwise."""
    (tmp_path / "models").mkdir()

    def tenancy(text: str = OIDC + MEMBERS, **changes: object) -> Tenancy:
        path = tmp_path / "tenants.toml"
        path.write_text(text)
        given = {
            "tls_certificate": "server.pem",
            "tls_key": "server.key",
            "tls_client_ca": "ca.pem",
            "models": tmp_path / "models",
            "state": tmp_path / "state",
            "tenants": path,
            **changes,
        }
        settings = ServerSettings(**given)
        return Tenancy(path, settings)

    return tenancy


def within(tenancy: Tenancy, work):
    """Run something while the rooms are kept."""

    async def run():
        async with tenancy.serving():
            return await work()

    return asyncio.run(run())


def judged(tenancy: Tenancy, *shown: Shown) -> list[Principal | Reason]:
    async def work():
        found = []
        for peer in shown:
            try:
                found.append(await tenancy.identify(peer))
            except Refusal as refusal:
                found.append(refusal.reason)
        return found

    return within(tenancy, work)


DEVICE = Principal("a", "device", frozenset({Role.PUBLISH, Role.AUDIT}))
PERSON = Principal("a", "person", frozenset({Role.PREDICT}), by_token=True)


def test_certificate_or_token_say_who_somebody_is(opened, issuer):
    assert judged(
        opened(),
        Shown(("device",)),
        Shown((), issuer.token("person")),
        Shown(),
        Shown(("stranger",)),
        Shown(("person",)),
        Shown((), issuer.token("device")),
        Shown((), issuer.token("stranger")),
        Shown((), Issuer().token("person")),
        Shown((), ""),
    ) == [
        DEVICE,
        PERSON,
        Reason.UNAUTHENTICATED,
        *[Reason.IDENTITY_REFUSED] * 4,
        *[Reason.UNAUTHENTICATED] * 2,
    ]


def test_several_names_in_a_certificate_are_nobody(opened):
    assert (
        judged(
            opened(),
            Shown(("device", "other device")),
            Shown(("device", "device")),
            Shown(("", "device")),
        )
        == [Reason.UNAUTHENTICATED] * 3
    )


def test_whoever_shows_both_is_of_one_tenant_and_has_the_tokens_roles_alone(opened, issuer):
    person, other = issuer.token("person"), issuer.token("other person")
    assert judged(
        opened(),
        Shown(("device",), person),
        Shown(("device",), other),
        Shown(("other device",), person),
        Shown(("stranger",), person),
        Shown(("device", "device"), person),
        # Neither stands in for the other when it is bad.
        Shown(("device",), issuer.token("person", seconds=-120)),
        Shown(("device",), ""),
        Shown(("device",), issuer.token("stranger")),
    ) == [
        PERSON,
        *[Reason.IDENTITY_REFUSED] * 3,
        *[Reason.UNAUTHENTICATED] * 3,
        Reason.IDENTITY_REFUSED,
    ]


def test_refusals_of_strangers_do_not_tell_who_there_is(opened, issuer):
    tenancy = opened()
    shown = (
        Shown(("stranger",)),
        Shown((), issuer.token("stranger")),
        Shown(("other device",), issuer.token("person")),
        Shown(("stranger",), issuer.token("person")),
    )

    async def work():
        said = set()
        for peer in shown:
            with pytest.raises(Refusal) as caught:
                await tenancy.identify(peer)
            said.add(str(caught.value))
        return said

    assert len(within(tenancy, work)) == 1


def test_tokens_are_refused_where_none_are_taken(opened, issuer):
    text = '[[tenants]]\nname = "a"\n[tenants.certificates]\n"device" = ["audit"]\n'
    assert judged(opened(text), Shown(("device",), issuer.token("device"))) == [
        Reason.UNAUTHENTICATED
    ]


def test_a_file_and_the_demands_of_tls_must_agree(opened):
    with pytest.raises(TenantsError, match="tls_client_ca is not set"):
        opened(tls_client_ca=None)
    with pytest.raises(TenantsError, match="none is listed"):
        opened('[[tenants]]\nname = "a"\n')


def test_a_tenant_has_places_of_its_own(tmp_path, opened):
    tenancy = opened(
        audit_archive=str(tmp_path / "archives" / "{tenant}{x}"), audit_origin="log.example"
    )

    async def work():
        rooms = {room.tenant: room for room in tenancy.all()}
        assert [*rooms] == ["a", "b"]
        assert tenancy.of("a") is rooms["a"]
        names = [room.trail.log_key.encoded().split("+")[0] for room in rooms.values()]
        assert names == ["log.example/a", "log.example/b"]
        with pytest.raises(Refusal):
            tenancy.of("c")

    within(tenancy, work)
    for name in ("a", "b"):
        state = tmp_path / "state" / "tenants" / name
        assert {path.name for path in state.iterdir()} >= {"audit.db", "audit.key", "keys"}
        assert (tmp_path / "models" / name).is_dir()
        assert (tmp_path / "archives" / f"{name}{{x}}").is_dir()
    url = {"audit_database": "postgresql://user:{p}@host/{tenant}"}
    place = Place.of_tenant(tenancy._settings.model_copy(update=url), "a")
    assert place.database == "postgresql://user:{p}@host/a"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tenant": "other"}, "several tenants or one"),
        ({"audit_database": "sqlite:///one.db"}, "each tenant has its own"),
        ({"audit_archive": "s3://bucket/prefix"}, "each tenant has its own"),
        ({"audit_checkpoint": "checkpoint"}, "each tenant has its own"),
        ({"audit_page": "127.0.0.1:1"}, "shows one trail"),
        ({"tenants": None, "audit_archive": "s3://{tenant}/"}, "stands for nothing"),
    ],
)
def test_settings_of_one_trail_are_refused_for_several(opened, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        opened(**changes)


def test_one_room_that_cannot_be_opened_stops_the_start(tmp_path, opened):
    (tmp_path / "state" / "tenants").mkdir(parents=True)
    (tmp_path / "state" / "tenants" / "b").write_text("no directory")
    before = set(threading.enumerate())
    with pytest.raises(ServerError):
        opened()
    assert set(threading.enumerate()) == before  # the rooms that were opened are closed


def test_another_file_takes_effect_at_once_and_a_bad_one_never(tmp_path, opened, issuer):
    tenancy = opened()
    path, settings = tmp_path / "tenants.toml", tenancy._settings

    async def reload(text: str) -> None:
        path.write_text(text)
        (await asyncio.to_thread(tenancy.prepare, settings))()

    async def work():
        quotas = Quotas()
        tenancy.follow(Calls(5, tenancy, tenancy), quotas)
        for bad in ("", OIDC + MEMBERS.replace('"b"', '"../b"'), MEMBERS):
            with pytest.raises(TenantsError):
                await reload(bad)
            assert await tenancy.identify(Shown(("device",))) == DEVICE
        changed = MEMBERS.replace('"b"', '"c"').replace('["publish", "audit"]', '["audit"]')
        await reload(OIDC + changed + "[tenants.quota]\nrequests = 5\n")
        assert (await tenancy.identify(Shown(("device",)))).roles == {Role.AUDIT}
        assert (await tenancy.identify(Shown(("other device",)))).tenant == "c"
        assert tenancy.of("c").tenant == "c"
        assert quotas.of("c").quota == Quota(requests=5)
        with pytest.raises(Refusal):
            tenancy.of("b")
        # Without tokens, and with them again: the issuer is the file's.
        certificates = MEMBERS.replace("[tenants.subjects]\n", "").replace(
            '"person" = ["predict"]', ""
        )
        certificates = certificates.replace('"other person" = ["predict"]', "")
        await reload(certificates)
        with pytest.raises(Refusal, match="no tokens"):
            await tenancy.identify(Shown((), issuer.token("person")))
        await reload(OIDC + MEMBERS)
        assert await tenancy.identify(Shown((), issuer.token("person"))) == PERSON
        assert tenancy.of("b").tenant == "b"

    within(tenancy, work)


def test_a_file_that_changes_while_a_token_is_verified_is_the_one_that_counts(
    tmp_path, opened, issuer, monkeypatch
):
    tenancy = opened()

    async def work():
        verifier = tenancy._verifier
        waiting, going = asyncio.Event(), asyncio.Event()
        verify = verifier.verify

        async def slowly(token: str):
            claims = await verify(token)
            waiting.set()
            await going.wait()
            return claims

        monkeypatch.setattr(verifier, "verify", slowly)
        asked = asyncio.create_task(tenancy.identify(Shown((), issuer.token("person"))))
        await waiting.wait()
        (tmp_path / "tenants.toml").write_text(OIDC + MEMBERS.replace('"person"', '"somebody"'))
        (await asyncio.to_thread(tenancy.prepare, tenancy._settings))()
        going.set()
        with pytest.raises(Refusal) as caught:
            await asked
        assert caught.value.reason is Reason.IDENTITY_REFUSED

    within(tenancy, work)


def test_another_issuer_ends_what_tokens_of_the_one_before_began(tmp_path, opened, issuer):
    tenancy = opened()
    served = {"token": PERSON, "certificate": DEVICE}

    class Revoking(Calls):
        async def revoke(self, stands) -> None:
            stood.append({name for name, principal in served.items() if stands(principal)})

    stood: list[set[str]] = []

    async def work():
        tenancy.follow(Revoking(5, tenancy, tenancy), Quotas())
        verifier = tenancy._verifier
        verify = verifier.verify

        async def meanwhile_replaced(token: str):
            claims = await verify(token)
            replaced = OIDC.replace(ISSUER, "https://other.example")
            (tmp_path / "tenants.toml").write_text(replaced + MEMBERS)
            (await asyncio.to_thread(tenancy.prepare, tenancy._settings))()
            return claims

        verifier.verify = meanwhile_replaced
        with pytest.raises(Refusal, match="try again") as caught:
            await tenancy.identify(Shown((), issuer.token("person")))
        assert caught.value.reason is Reason.UNAUTHENTICATED
        (tmp_path / "tenants.toml").write_text(
            OIDC.replace(ISSUER, "https://other.example") + MEMBERS + "# the same, but for roles\n"
            "[tenants.quota]\nrequests = 5\n"
        )
        (await asyncio.to_thread(tenancy.prepare, tenancy._settings))()
        await asyncio.gather(*tenancy._settling)

    within(tenancy, work)
    assert stood == [{"certificate"}, {"token", "certificate"}]


def test_rooms_that_were_prepared_and_never_used_are_closed(tmp_path, opened):
    tenancy = opened()
    (tmp_path / "tenants.toml").write_text(OIDC + MEMBERS.replace('"b"', '"c"'))

    async def work():
        await asyncio.to_thread(tenancy.prepare, tenancy._settings)
        room = tenancy._prepared["c"]
        await asyncio.to_thread(tenancy.prepare, tenancy._settings)
        assert tenancy._prepared == {"c": room}
        return room

    room = within(tenancy, work)
    assert room.trail._recorder._closed
