from __future__ import annotations

import asyncio
import builtins
import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import httpx
import pytest
import structlog

from audit.aggregate_cosignature import verify_aggregate_cosignature
from audit.bls import BlsUnavailableError
from audit.checkpoint import Checkpoint, verify_checkpoint
from audit.cosignature import WitnessPolicy, cosign, verify_cosignatures
from audit.errors import LogUnavailableError, WitnessError
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.signed_note import SignedNote
from server import witnesses as under_test
from server.witness_client import MAX_ANSWER_BYTES, MAX_LINES
from server.witnesses import RoundLimits, Witnesses
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN
from tests.unit.witness.watched_log import asking, grow, watched_log
from witness.cosigning import CosigningWitness
from witness.errors import RefusedError
from witness.keys import SEEN_FILE, WitnessKeys, make_state
from witness.seen import SeenHeads

NOW = 1_767_225_599
LIMITS = RoundLimits(witness_seconds=0.5, grace_seconds=0.1, interval_seconds=0.01)


@dataclass
class Peer:
    """A witness behind a transport in memory; `answer` changes what it says."""

    keys: WitnessKeys
    witness: CosigningWitness
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[httpx.Request], object] | None = None
    gate: asyncio.Event | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        if self.gate is not None:
            await self.gate.wait()
        if self.answer is not None:
            return self.answer(request)
        try:
            return httpx.Response(200, content=self.witness.add_checkpoint(request.content))
        except RefusedError as error:
            kind = {"content-type": error.kind}
            return httpx.Response(error.status, content=error.body.encode(), headers=kind)

    def olds(self) -> list[int]:
        """The sizes it was sent proofs from."""
        return [int(body.split(b"\n")[0].removeprefix(b"old ")) for body in self.bodies]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def make_peers(tmp_path, count: int, bls: bool = False) -> list[Peer]:
    peers = []
    for number in range(count):
        state = tmp_path / f"w{number}"
        keys = WitnessKeys.generate(f"w{number}", bls=bls)
        make_state(state, keys)
        witness = CosigningWitness(keys, [LOG_KEY], SeenHeads(state / SEEN_FILE), lambda: NOW)
        peers.append(Peer(keys, witness))
    return peers


@pytest.fixture
def peers(tmp_path) -> list[Peer]:
    return make_peers(tmp_path, 3)


@pytest.fixture
def log(tmp_path) -> AuditLog:
    return watched_log(tmp_path / "log", 5)


def policy_of(peers, threshold=2) -> WitnessPolicy:
    entries = (peer.keys.entry(f"https://{peer.keys.name}.example/") for peer in peers)
    return WitnessPolicy(tuple(entries), threshold)


@pytest.fixture
def asked(monkeypatch):
    """Makes `Witnesses` whose requests reach peers in memory."""

    def make(log, peers, threshold=2, *, limits=LIMITS, policy=None):
        by_host = {f"{peer.keys.name}.example": peer for peer in peers}

        async def handle(request: httpx.Request) -> httpx.Response:
            assert request.url.path == "/add-checkpoint"
            made = await by_host[request.url.host](request)
            # As from a network: to be read once, in parts.
            stream = httpx.ByteStream(made.content)
            return httpx.Response(made.status_code, headers=made.headers, stream=stream)

        transport = httpx.MockTransport(handle)
        monkeypatch.setattr(
            under_test, "_http_client", lambda *_: httpx.AsyncClient(transport=transport)
        )
        policy = policy or policy_of(peers, threshold)
        return Witnesses(policy, log, LOG, limits=limits, clock=lambda: NOW)

    return make


def signers(note: SignedNote, policy: WitnessPolicy) -> set[str]:
    verify_checkpoint(note.encoded(), LOG_KEY)
    return {item.witness for item in verify_cosignatures(note, policy, NOW)}


def size_of(note: SignedNote) -> int:
    return Checkpoint.from_text(note.text).size


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_round_collects_all_who_answer_and_keeps_what_it_collected(asked, log, peers):
    witnesses = asked(log, peers)
    note = await witnesses.cosigned(5)
    assert signers(note, policy_of(peers)) == {"w0", "w1", "w2"}
    assert log.latest_checkpoint() == note
    assert await witnesses.cosigned(3) == note
    assert [len(peer.bodies) for peer in peers] == [1, 1, 1]
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_each_witness_gets_a_proof_from_the_size_it_has(asked, log, peers):
    peers[1].witness.add_checkpoint(asking(log, 0))
    grow(log, 3)
    peers[2].witness.add_checkpoint(asking(log, 0))
    grow(log, 4)
    witnesses = asked(log, peers, 3)
    assert size_of(await witnesses.cosigned(12)) == 12
    assert [peer.olds() for peer in peers] == [[0], [0, 5], [0, 8]]
    grow(log, 1)
    await witnesses.cosigned(13)
    assert [peer.olds()[-1] for peer in peers] == [12, 12, 12]
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_callers_share_a_round(asked, log, peers):
    witnesses = asked(log, peers)
    notes = await asyncio.gather(*(witnesses.cosigned(size) for size in (1, 5, 0, 5)))
    assert len(set(notes)) == 1
    assert [len(peer.bodies) for peer in peers] == [1, 1, 1]
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_a_round_that_began_too_early_is_followed_by_another(asked, log, peers):
    witnesses = asked(log, peers)
    gate = asyncio.Event()
    for peer in peers:
        peer.gate = gate
    early = asyncio.create_task(witnesses.cosigned(5))
    await until(lambda: peers[0].bodies)
    grow(log, 2)
    late = [asyncio.create_task(witnesses.cosigned(7)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert len(peers[0].bodies) == 1
    second = asyncio.Event()
    for peer in peers:
        peer.gate = second
    gate.set()
    assert size_of(await early) == 5
    await until(lambda: all(len(peer.bodies) == 2 for peer in peers))
    await asyncio.sleep(0.1)  # in which another round would have asked
    second.set()
    assert {size_of(await task) for task in late} == {7}
    assert peers[0].olds() == [0, 5]
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_a_caller_who_goes_away_ends_nobody_elses_round(asked, log, peers):
    witnesses = asked(log, peers)
    gate = asyncio.Event()
    for peer in peers:
        peer.gate = gate
    first, second = (asyncio.create_task(witnesses.cosigned(5)) for _ in range(2))
    await until(lambda: peers[0].bodies)
    first.cancel()
    gate.set()
    assert size_of(await second) == 5
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_enough_witnesses_are_enough(asked, log, peers):
    peers[0].answer = lambda request: httpx.Response(500)
    witnesses = asked(log, peers)
    assert signers(await witnesses.cosigned(5), policy_of(peers)) == {"w1", "w2"}
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_a_silent_witness_is_waited_for_once_and_only_a_moment(asked, log, peers):
    peers[2].gate = asyncio.Event()
    witnesses = asked(log, peers, limits=RoundLimits(witness_seconds=30, grace_seconds=0.3))
    loop = asyncio.get_running_loop()
    start = loop.time()
    await witnesses.cosigned(5)
    assert 0.3 <= loop.time() - start < 5
    grow(log, 1)
    start = loop.time()
    await witnesses.cosigned(6)
    assert loop.time() - start < 0.3
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_too_few_are_an_error_within_the_limit_that_names_the_reasons(asked, log, peers):
    peers[0].gate = asyncio.Event()

    def unreachable(request):
        raise httpx.ConnectError("nobody there")

    peers[1].answer = unreachable
    witnesses = asked(log, peers)
    start = asyncio.get_running_loop().time()
    with pytest.raises(WitnessError, match=r"1 of 3 .*w0: no answer in 0.5 .*w1: .*nobody there"):
        await witnesses.cosigned(5)
    assert asyncio.get_running_loop().time() - start < 5
    peers[1].answer = None
    note = await witnesses.cosigned(5)
    assert signers(note, policy_of(peers)) == {"w1", "w2"}
    assert len(peers[2].bodies) == 1, "what has signed is not asked again"
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_more_entries_than_there_are_cannot_be_cosigned(asked, log, peers):
    witnesses = asked(log, peers)
    with pytest.raises(WitnessError, match="no 6 entries"):
        await witnesses.cosigned(6)
    await witnesses.aclose()


def forged(note, name, key=None, time_seconds=NOW):
    return f"{cosign(note, name, key or SigningKey.generate(), time_seconds).line()}\n".encode()


def accepted(content):
    return lambda peer: lambda request: httpx.Response(200, content=content(peer, request))


def note_of(request):
    return SignedNote.decoded(request.content.partition(b"\n\n")[2])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (accepted(lambda peer, it: b""), "no signature lines"),
        (accepted(lambda peer, it: b"\xff\n"), "no signature lines"),
        (accepted(lambda peer, it: b"nonsense\n"), "no signature lines"),
        (accepted(lambda peer, it: peer.witness.add_checkpoint(it.content)[:-1]), "lines"),
        (
            accepted(lambda peer, it: peer.witness.add_checkpoint(it.content) * (MAX_LINES + 1)),
            "lines",
        ),
        (accepted(lambda peer, it: b"x" * (MAX_ANSWER_BYTES + 1)), "answers more than"),
        (accepted(lambda peer, it: forged(note_of(it), "w0")), "no signature of the key"),
        (
            accepted(lambda peer, it: forged(note_of(it), "other", peer.keys.ed25519)),
            "no signature of the key",
        ),
        (
            accepted(
                lambda peer, it: forged(
                    replace(note_of(it), text=note_of(it).text.replace("5", "4")),
                    "w0",
                    peer.keys.ed25519,
                )
            ),
            "does not verify",
        ),
        (
            accepted(lambda peer, it: forged(note_of(it), "w0", peer.keys.ed25519, NOW + 61)),
            "from the future",
        ),
        (lambda peer: lambda it: httpx.Response(302, headers={"location": "/"}), "status 302"),
        (lambda peer: lambda it: httpx.Response(422, content=b"\x1b[31m"), "status 422: '.x1b"),
        (lambda peer: lambda it: httpx.Response(409, content=b"3\n"), "status 409"),
        (
            lambda peer: (
                lambda it: httpx.Response(
                    409, content=b"03\n", headers={"content-type": "text/x.tlog.size"}
                )
            ),
            "status 409",
        ),
    ],
)
@pytest.mark.asyncio
async def test_answers_that_are_no_cosignatures_do_not_count(asked, log, peers, answer, said):
    peers[0].answer = answer(peers[0])
    witnesses = asked(log, peers[:1], 1)
    with pytest.raises(WitnessError, match=said):
        await witnesses.cosigned(5)
    assert len(log.latest_checkpoint().signatures) == 1, "nothing unverified is kept"
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_a_witness_whose_clock_is_a_little_ahead_counts(asked, log, peers):
    ahead = accepted(lambda peer, it: forged(note_of(it), "w0", peer.keys.ed25519, NOW + 60))
    peers[0].answer = ahead(peers[0])
    witnesses = asked(log, peers[:1], 1)
    note = await witnesses.cosigned(5)
    # A client whose clock is four minutes behind the server's accepts it still.
    assert verify_cosignatures(note, policy_of(peers[:1], 1), NOW - 240)
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_witnesses_are_given_no_cookies_of_one_another(monkeypatch):
    sent = []

    async def answer(_transport, request):
        sent.append(request.headers.get("cookie"))
        cookie = "c=1; Domain=witness.example; Path=/; Max-Age=9999"
        return httpx.Response(200, headers={"set-cookie": cookie})

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    async with under_test._http_client(ssl.create_default_context(), 1.0) as client:
        for name in ("w0", "w1", "w0"):
            await client.post(f"https://{name}.witness.example/add-checkpoint")
        assert not client.cookies
    assert sent == [None] * 3


def conflicting(*sizes):
    remaining = list(sizes)

    def answer(request):
        kind = {"content-type": "text/x.tlog.size"}
        return httpx.Response(409, content=f"{remaining.pop(0)}\n".encode(), headers=kind)

    return answer


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((6,), "restored from an old copy"),
        ((0,), "split view"),
        ((5, 5), "split view"),
        ((1, 2, 3, 4), "changed with every attempt"),
    ],
)
@pytest.mark.asyncio
async def test_conflicts_are_explained_and_end(asked, log, peers, sizes, said):
    peers[0].answer = conflicting(*sizes)
    witnesses = asked(log, peers[:1], 1)
    with pytest.raises(WitnessError, match=said):
        await witnesses.cosigned(5)
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_lines_of_strangers_are_not_kept(asked, log, peers):
    def answer(request):
        mine = peers[0].witness.add_checkpoint(request.content)
        return httpx.Response(200, content=forged(note_of(request), "stranger") + mine)

    peers[0].answer = answer
    witnesses = asked(log, peers[:1], 1)
    note = await witnesses.cosigned(5)
    assert [line.name for line in note.signatures] == [ORIGIN, "w0"]
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_after_a_restart_kept_cosignatures_count(asked, log, peers):
    first = asked(log, peers)
    note = await first.cosigned(5)
    await first.aclose()
    second = asked(log, peers)
    assert set((await second.cosigned(5)).signatures) == set(note.signatures)
    assert [len(peer.bodies) for peer in peers] == [1, 1, 1]
    await second.aclose()


@pytest.mark.asyncio
async def test_a_log_that_fails_is_no_witness_that_refuses(asked, log, peers, monkeypatch):
    witnesses = asked(log, peers)
    await witnesses.cosigned(5)
    grow(log, 1)

    def fails(*_):
        raise LogUnavailableError("the disk is gone")

    monkeypatch.setattr(log, "consistency_proof", fails)
    with pytest.raises(LogUnavailableError):
        await witnesses.cosigned(6)
    monkeypatch.undo()
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_new_entries_leave_the_machine_though_nobody_asks(asked, log, peers):
    witnesses = asked(log, peers)
    stop = asyncio.Event()
    running = asyncio.create_task(witnesses.run(stop))
    for size in (5, 6):
        await until(lambda: log.latest_checkpoint() is not None)
        await until(lambda size=size: size_of(log.latest_checkpoint()) == size)
        await until(lambda: len(log.latest_checkpoint().signatures) == 4)
        grow(log, 1)
    stop.set()
    await running
    assert peers[0].olds()[:2] == [0, 5]
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_the_background_goes_on_after_failures_and_rests_without_entries(
    asked, log, peers, tmp_path
):
    for peer in peers:
        peer.answer = lambda request: httpx.Response(500)
    witnesses = asked(log, peers)
    stop = asyncio.Event()
    running = asyncio.create_task(witnesses.run(stop))
    await until(lambda: len(peers[0].bodies) >= 3)
    for peer in peers:
        peer.answer = None
    await until(lambda: len(log.latest_checkpoint().signatures) == 4)
    asked_so_far = len(peers[0].bodies)
    await asyncio.sleep(0.1)
    assert len(peers[0].bodies) == asked_so_far
    stop.set()
    await running
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_bls_signatures_become_one_line_of_the_kept_checkpoint(asked, log, tmp_path):
    peers = make_peers(tmp_path, 3, bls=True)
    policy = policy_of(peers)
    witnesses = asked(log, peers, limits=RoundLimits(grace_seconds=5), policy=policy)
    note = await witnesses.cosigned(5)
    assert len(note.signatures) == 4, "nobody waits for the aggregate"
    await witnesses.added()
    assert [peer.olds() for peer in peers] == [[0, 5]] * 3
    kept = log.latest_checkpoint()
    assert verify_aggregate_cosignature(kept, ORIGIN, policy) == ("w0", "w1", "w2")
    assert await witnesses.cosigned(5) == kept
    assert len(kept.signatures) == 5
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_a_false_bls_signature_is_left_out(asked, log, tmp_path):
    peers = make_peers(tmp_path, 3, bls=True)
    policy = policy_of(peers)
    peers[1].answer = lambda request: httpx.Response(
        200, content=_with_bls_of_another_text(peers[1], request)
    )
    witnesses = asked(log, peers, limits=RoundLimits(grace_seconds=5), policy=policy)
    await witnesses.cosigned(5)
    await witnesses.added()
    kept = log.latest_checkpoint()
    assert verify_aggregate_cosignature(kept, ORIGIN, policy) == ("w0", "w2")
    assert signers(kept, policy) == {"w0", "w1", "w2"}
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_aggregates_are_made_of_the_newest_checkpoint_and_not_of_each(
    asked, log, tmp_path, monkeypatch
):
    peers = make_peers(tmp_path, 2, bls=True)
    limits = RoundLimits(grace_seconds=5, aggregate_seconds=0.1)
    witnesses = asked(log, peers, limits=limits)
    sizes = []

    def counting(self, collected):
        sizes.append(collected.size)
        return asyncio.sleep(0.2)

    monkeypatch.setattr(Witnesses, "_add_to", counting)
    for size in (5, 6, 7, 8):
        grow(log, size - log.head().size)
        await witnesses.cosigned(size)
    await witnesses.added()
    assert sizes[-1] == 8
    assert len(sizes) < 4
    await witnesses.aclose()


@pytest.mark.asyncio
async def test_a_failed_aggregate_is_no_failed_round(asked, log, tmp_path, monkeypatch):
    peers = make_peers(tmp_path, 2, bls=True)
    witnesses = asked(log, peers)

    def fails(*_):
        raise BlsUnavailableError("not installed")

    monkeypatch.setattr(under_test, "aggregate_cosignatures", fails)
    await witnesses.cosigned(5)
    await witnesses.added()
    monkeypatch.undo()
    assert len(log.latest_checkpoint().signatures) == 3
    await witnesses.aclose()


def _with_bls_of_another_text(peer, request):
    first, *rest = peer.witness.add_checkpoint(request.content).decode().splitlines()
    if not rest:
        return f"{first}\n".encode()
    (second,) = rest
    other = peer.witness._new_bls_line("another text\n").line()
    assert other != second
    return f"{first}\n{other}\n".encode()


def test_a_policy_without_enough_urls_says_so(log, peers):
    policy = WitnessPolicy(tuple(peer.keys.entry() for peer in peers), 2)
    with pytest.raises(WitnessError, match="add 'url'"):
        Witnesses(policy, log, LOG)


def test_without_the_http_client_the_error_says_what_to_install(log, peers, monkeypatch):
    imported = builtins.__import__

    def without_httpx(name, *rest, **options):
        if name == "httpx":
            raise ImportError(name)
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_httpx)
    with pytest.raises(WitnessError, match=r"blindproof\[witness\]"):
        Witnesses(policy_of(peers), log, LOG)
