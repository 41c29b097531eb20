"""A true answer with a false receipt, or in a false log, is refused before it is decrypted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from audit.checkpoint import verify_checkpoint
from audit.cosignature import CLOCK_SKEW_SECONDS
from audit.errors import LogUnavailableError
from audit.head import Head
from audit.keys import SigningKey
from audit.receipt import Action, Outcome, Purpose, Receipt
from audit.signed_receipt import SignedReceipt, sign_receipt
from client_sdk import (
    Client,
    ConnectionLostError,
    ConsistencyError,
    InclusionError,
    LogKeyError,
    NoteError,
    Phase,
    ReceiptError,
    ReceiptMismatchError,
    ReceiptMissingError,
    ReceiptTimeError,
    Result,
    ServerBusyError,
    SignatureError,
    TransportError,
    WitnessError,
    repeating,
    verify_receipt,
)
from client_sdk.channel import ATTEMPTS
from client_sdk.log_memory import KnownLog
from client_sdk.receipts import CLOCK_DIFFERENCE_SECONDS
from tests.adversarial.false_receipts import (
    ORIGIN,
    FalseLog,
    FalseWitnesses,
    Lies,
    false_server,
    flipped,
)
from tests.integration.conftest import World, quiet_server, world  # noqa: F401  (fixtures)
from tests.integration.example_models import records
from wire import rpc
from wire.audit import ReceiptMessage
from wire.inference import decode_header

OTHER = bytes(range(32))
HOUR_NS = 3_600_000_000_000
SUBJECT = "patient 4711"
ACCOUNT = {"tenant": "clinic", "actor": "ward-7", "purpose": "TREAT"}


class Scene:
    """A false server, and a client of it whose phases are recorded."""

    def __init__(self, honest: World, address: str, lies: Lies) -> None:
        self.world = honest
        self.address = address
        self.lies = lies
        self.phases: list[Phase] = []

    def client(self, **changes: Any) -> Client:
        arguments = {
            "model": self.world.models["private"].digest,
            "keys": self.world.keys,
            "ca": self.world.ca,
            "observer": self.phases.append,
            **ACCOUNT,
            **changes,
        }
        return Client(self.address, **arguments)

    def ask(self, client: Client) -> Result:
        self.phases.clear()
        return client.predict(records(1), subject=SUBJECT)

    def refused(self, client: Client, expected: type[Exception], match: str) -> None:
        """Exactly this error, after the proof was verified and before the secret key is used."""
        with pytest.raises(expected, match=match) as caught:
            self.ask(client)
        assert caught.type is expected
        assert SUBJECT not in str(caught.value)
        assert self.phases[-1] is Phase.VERIFY


@pytest.fixture
def scene(world: World, tmp_path: Path) -> Iterator[Scene]:  # noqa: F811
    lies = Lies()
    # A port may come again, and the log that was met there first is another test's.
    world.keys._logs_file.unlink(missing_ok=True)
    with false_server(world, tmp_path, lies) as address:
        yield Scene(world, address, lies)


@contextmanager
def warm(scene: Scene, answers: int, **changes: Any) -> Iterator[Client]:
    """A client that has had honest answers."""
    with scene.client(**changes) as client:
        for _ in range(answers):
            scene.ask(client)
        yield client


def another(receipt: Receipt, number: int = 0) -> Receipt:
    return replace(
        receipt,
        receipt_id=bytes((number,)) * 16,
        request_id=bytes((number,)) * 16,
        idempotency_digest=bytes((number,)) * 32,
    )


def filler(scene: Scene, number: int) -> SignedReceipt:
    """A receipt that the log's key signed, of nothing that was asked."""
    log = scene.lies.log
    return sign_receipt(another(log.receipts[0].receipt, number), log.signing)


@pytest.mark.accepts("C-93")
@pytest.mark.accepts("C-94")
def test_honest_receipts_are_accepted_kept_and_signed(scene: Scene, tmp_path: Path):
    with warm(scene, 3) as client:
        result = scene.ask(client)
        assert client.log_key == scene.lies.log.key.encoded()
    receipt = result.receipt.signed.receipt
    assert (receipt.tenant, receipt.actor, receipt.purpose) == ("clinic", "ward-7", "TREAT")
    assert receipt.subject == scene.world.keys.pseudonym("clinic", SUBJECT)
    assert receipt.soundness_bits == result.soundness_bits
    assert [decode_header(header).log_size for header in scene.lies.headers] == [0, 1, 2, 3]
    assert scene.lies.calls.count(rpc.GET_LOG.name) == 1
    assert scene.lies.calls.count(rpc.GET_CONSISTENCY.name) == 0
    assert not any(SUBJECT.encode() in header for header in scene.lies.headers)

    assert result.countersigned == (True,)
    left = scene.lies.countersignatures[-1]
    key = scene.world.keys.receipt_key().public
    assert (left.receipt_id, left.client_key) == (receipt.receipt_id, key)
    assert result.receipt.signed.client.signature == left.client_signature
    (path,) = result.save_receipt(tmp_path / "receipt.json")
    verified = verify_receipt(path, scene.lies.log.key.encoded(), client_key=key)
    assert (verified.receipt, verified.index, verified.client_key) == (receipt, 3, key)


@pytest.mark.parametrize("model", ["public", "two outputs"])
@pytest.mark.parametrize("packing", ["batch", "single"])
def test_receipts_of_other_models_and_packings_are_accepted(scene: Scene, model: str, packing: str):
    digest = scene.world.models[model].digest
    with scene.client(model=digest) as client:
        result = client.predict(records(1), packing=packing)
    assert result.receipt.signed.receipt.digests.model == digest
    assert (result.receipt.signed.receipt.soundness_bits is None) == (not result.proof)


def digests(**changed: bytes | None) -> Callable[[Receipt], Receipt]:
    return lambda receipt: replace(receipt, digests=replace(receipt.digests, **changed))


def fields(**changed: object) -> Callable[[Receipt], Receipt]:
    return lambda receipt: replace(receipt, **changed)


@pytest.mark.rejects("C-93")
@pytest.mark.parametrize(
    ("state", "match"),
    [
        (fields(request_id=OTHER[:16]), "another request id"),
        (fields(idempotency_digest=OTHER), "another idempotency digest"),
        (fields(tenant="other"), "another tenant: expected 'clinic', found 'other'"),
        (fields(actor="other"), "another actor"),
        (fields(purpose=Purpose.RESEARCH), "another purpose"),
        (fields(subject=OTHER), "another subject"),
        (fields(subject=None), "another subject"),
        (fields(soundness_bits=200.0), "another soundness bits"),
        (fields(soundness_bits=None), "another soundness bits"),
        (fields(error_bound=1e-30), "another error bound"),
        (fields(outcome=Outcome.DENIED, reason="busy"), "denied: not of an answer"),
        (fields(outcome=Outcome.FAILED, reason="internal"), "failed: not of an answer"),
        (fields(action=Action.READ_MODEL), "'read-model', answered: not of an answer"),
        *(
            (digests(**{name: value}), f"another digest of the {name}")
            for name in ("model", "parameters", "graph", "input", "output", "proof", "key")
            for value in (OTHER, None)
        ),
        (digests(plaintext=OTHER), "another digest of the plaintext"),
    ],
)
def test_a_receipt_that_says_something_else_is_refused(scene: Scene, state, match: str):
    scene.lies.state = state
    with scene.client() as client:
        scene.refused(client, ReceiptMismatchError, match)
    assert scene.lies.countersignatures == []
    assert scene.world.keys.known_log(scene.address) is None


@pytest.mark.rejects("C-93")
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_receipt_of_another_time_is_refused(scene: Scene, hours: int):
    scene.lies.state = lambda receipt: replace(receipt, time_ns=receipt.time_ns + hours * HOUR_NS)
    with scene.client() as client:
        scene.refused(client, ReceiptTimeError, "3600 seconds from|3599 seconds from")


def test_clocks_may_differ_a_little(scene: Scene):
    apart = (CLOCK_DIFFERENCE_SECONDS - 30) * 1_000_000_000
    scene.lies.state = lambda receipt: replace(receipt, time_ns=receipt.time_ns - apart)
    with scene.client() as client:
        scene.ask(client)


def the_one_before(log: FalseLog, index: int, old_size: int) -> ReceiptMessage:
    return log.message(index - 1, old_size)


def message(**changed: Any) -> Callable[[FalseLog, int, int], ReceiptMessage]:
    """The honest message with other parts, each computed from the honest message and the log."""

    def show(log: FalseLog, index: int, old_size: int) -> ReceiptMessage:
        honest = log.message(index, old_size)
        return replace(honest, **{name: make(honest, log) for name, make in changed.items()})

    return show


def other_log(honest: ReceiptMessage, log: FalseLog) -> bytes:
    """The same entries and the same key, under another name."""
    other = FalseLog(log.signing, "log.example/other")
    for signed in log.receipts:
        other.append(signed)
    return other.note().encoded()


def other_signer(honest: ReceiptMessage, log: FalseLog) -> bytes:
    """The log's name over another key's signature, under the identifier of the log's key."""
    forger = FalseLog(SigningKey.generate(), ORIGIN)
    for signed in log.receipts:
        forger.append(signed)
    note = forger.note()
    forged = replace(note.signatures[0], key_id=log.key.key_id)
    return replace(note, signatures=(forged,)).encoded()


def altered_entry(honest: ReceiptMessage, log: FalseLog) -> bytes:
    return flipped(honest.entry)


@pytest.mark.rejects("C-93")
@pytest.mark.parametrize(
    ("show", "error", "match"),
    [
        (lambda log, index, old: b"", ReceiptMissingError, "without a receipt"),
        (lambda log, index, old: b"\xff\xff", ReceiptError, "malformed receipt"),
        (message(entry=lambda honest, log: b"entry"), ReceiptError, "malformed entry"),
        (message(entry=altered_entry), SignatureError, "no signature of key"),
        (the_one_before, ReceiptMismatchError, "another request id"),
    ],
)
def test_no_receipt_or_another_one_is_refused(scene: Scene, show, error, match: str):
    with warm(scene, 1) as client:
        scene.lies.show = show
        scene.refused(client, error, match)


@pytest.mark.rejects("C-94")
@pytest.mark.parametrize(
    ("show", "error", "match"),
    [
        (
            message(inclusion=lambda honest, log: tuple(map(flipped, honest.inclusion))),
            InclusionError,
            "leads to root",
        ),
        (message(inclusion=lambda honest, log: ()), InclusionError, "too short"),
        (message(index=lambda honest, log: honest.index - 1), InclusionError, "too short"),
        (message(index=lambda honest, log: honest.index + 1), InclusionError, "no leaf 3"),
        (
            message(checkpoint=lambda honest, log: log.note(honest.index).encoded()),
            InclusionError,
            "no leaf 2 in a tree of 2 leaves",
        ),
        (message(checkpoint=other_log), SignatureError, "the note has no signature of"),
        (message(checkpoint=other_signer), SignatureError, "no signature of key"),
        (message(checkpoint=lambda honest, log: b"note"), NoteError, "must end in a blank line"),
        (message(consistency=lambda honest, log: ()), ConsistencyError, "need a proof"),
        (
            message(consistency=lambda honest, log: tuple(map(flipped, honest.consistency))),
            ConsistencyError,
            "leads to new root",
        ),
    ],
)
def test_a_receipt_that_no_checkpoint_proves_is_refused(scene: Scene, show, error, match: str):
    with warm(scene, 2) as client:
        scene.lies.show = show
        scene.refused(client, error, match)


def cut(scene: Scene) -> FalseLog:
    return scene.lies.log.rewritten(scene.lies.log.receipts[:1])


def cut_by_one(scene: Scene) -> FalseLog:
    return scene.lies.log.rewritten(scene.lies.log.receipts[:-1])


def rolled_back_and_grown(scene: Scene) -> FalseLog:
    kept = scene.lies.log.receipts[:1]
    return scene.lies.log.rewritten([*kept, *(filler(scene, number) for number in range(5))])


def forked(scene: Scene) -> FalseLog:
    return scene.lies.log.rewritten([filler(scene, 1), *scene.lies.log.receipts[1:]])


def reordered(scene: Scene) -> FalseLog:
    first, second, *rest = scene.lies.log.receipts
    return scene.lies.log.rewritten([second, first, *rest])


@pytest.mark.rejects("C-94")
@pytest.mark.parametrize(
    ("history", "match"),
    [
        (cut, "a tree of 2 leaves cannot extend one of 3"),
        (cut_by_one, "two trees of 3 leaves"),
        (rolled_back_and_grown, "leads to old root"),
        (forked, "leads to old root"),
        (reordered, "leads to old root"),
    ],
)
def test_a_log_that_does_not_extend_what_was_seen_is_refused(scene: Scene, history, match: str):
    with warm(scene, 3):
        pass
    scene.lies.log = history(scene)
    # What was seen is kept with the keys, not with the client.
    with scene.client() as client:
        scene.refused(client, ConsistencyError, match)


@pytest.mark.rejects("C-93")
def test_a_log_under_a_new_key_is_refused_until_the_key_is_given(scene: Scene):
    with warm(scene, 1):
        pass
    scene.lies.log = FalseLog()
    with scene.client() as client:
        scene.refused(client, LogKeyError, "if the operator confirms")
    with scene.client(log_key=scene.lies.log.key) as client:
        scene.ask(client)
    with scene.client() as client:  # what was given is remembered
        scene.ask(client)


@pytest.mark.rejects("C-93")
def test_a_pinned_key_is_the_only_one(scene: Scene):
    with scene.client(log_key=FalseLog().key.encoded()) as client:
        scene.refused(client, LogKeyError, "the key given or first seen is")
    assert rpc.GET_LOG.name not in scene.lies.calls
    scene.lies.signing = SigningKey.generate()
    with scene.client(log_key=scene.lies.log.key) as client:
        scene.refused(client, LogKeyError, "the receipt is signed with the key")


def test_a_name_of_another_log_over_the_pinned_key_is_refused(scene: Scene):
    pinned = replace(scene.lies.log.key, name="log.example/other")
    with scene.client(log_key=pinned) as client:
        scene.refused(client, SignatureError, "no signature of 'log.example/other'")


@pytest.mark.rejects("C-93")
def test_two_keys_shown_at_a_first_meeting_are_not_both_believed(scene: Scene):
    """Of two requests that both met the log for the first time, the later one is refused."""
    keys, other = scene.world.keys, FalseLog()

    def meanwhile(log: FalseLog, index: int, old_size: int) -> ReceiptMessage:
        keys.advance_log(scene.address, KnownLog(other.key), Head(1, OTHER))
        return log.message(index, old_size)

    scene.lies.show = meanwhile
    with scene.client() as client:
        scene.refused(client, LogKeyError, "the server's log had the key")


def seen_meanwhile(scene: Scene, shown: FalseLog) -> Callable[..., ReceiptMessage]:
    """Another request of the same client is answered first, from the log that it is shown."""

    def show(log: FalseLog, index: int, old_size: int) -> ReceiptMessage:
        honest = log.message(index, old_size)
        shown.append(log.receipts[index])
        for number in (8, 9):
            shown.append(filler(scene, number))
        keys = scene.world.keys
        head = Head(shown.size, shown._tree.root())
        assert keys.advance_log(scene.address, keys.log(log.key), head) == head
        scene.lies.log = shown
        return honest

    return show


@pytest.mark.accepts("C-94")
def test_an_answer_behind_what_another_request_has_seen_is_joined_to_it(scene: Scene):
    with warm(scene, 2) as client:
        scene.lies.show = seen_meanwhile(scene, scene.lies.log.rewritten(scene.lies.log.receipts))
        scene.ask(client)
        assert scene.lies.calls.count(rpc.GET_CONSISTENCY.name) == 1
        assert scene.world.keys.known_log(scene.address).head.size == 5


@pytest.mark.rejects("C-94")
@pytest.mark.parametrize("history", [forked, reordered])
def test_an_answer_from_another_history_than_another_requests_is_refused(scene: Scene, history):
    with warm(scene, 2) as client:
        scene.lies.show = seen_meanwhile(scene, history(scene))
        scene.refused(client, ConsistencyError, "leads to old root")


def witnessed(scene: Scene, count: int = 3, threshold: int = 2) -> FalseWitnesses:
    scene.lies.witnesses = FalseWitnesses(count, threshold)
    return scene.lies.witnesses


@pytest.mark.accepts("C-97")
@pytest.mark.parametrize("later", [0, 3])
def test_enough_witnesses_are_accepted_and_kept(scene: Scene, tmp_path: Path, later: int):
    witnesses = witnessed(scene)

    def cosigned(log: FalseLog, found: FalseWitnesses):
        for number in range(later):
            log.append(filler(scene, number))
        return found.cosigned(log.note(), 2)

    scene.lies.cosign = cosigned
    with warm(scene, 1, witnesses=witnesses.policy) as client:
        result = scene.ask(client)
    (path,) = result.save_receipt(tmp_path / "receipt.json")
    verified = verify_receipt(path, scene.lies.log.key, witnesses=witnesses.policy)
    assert len(verified.cosignatures) == 2
    assert verified.checkpoint.size == scene.lies.log.size
    assert scene.world.keys.known_log(scene.address).head.size == scene.lies.log.size


@pytest.mark.accepts("C-97")
def test_a_smaller_log_that_witnesses_signed_does_not_shorten_what_is_remembered(scene: Scene):
    def grown(log: FalseLog, index: int, old_size: int) -> ReceiptMessage:
        for number in range(3):
            log.append(filler(scene, number))
        return log.message(index, old_size)

    witnesses = witnessed(scene)
    with warm(scene, 1, witnesses=witnesses.policy) as client:
        scene.lies.show = grown
        scene.lies.cosign = lambda log, found: found.cosigned(log.note(log.size - 3), 2)
        result = scene.ask(client)
    assert scene.lies.log.size == 5
    assert verify_checkpoint(result.receipt.checkpoint.encoded(), scene.lies.log.key)[0].size == 2
    assert scene.world.keys.known_log(scene.address).head.size == 5


def too_few(log: FalseLog, witnesses: FalseWitnesses):
    return witnesses.cosigned(log.note(), 1)


def strangers(log: FalseLog, witnesses: FalseWitnesses):
    return FalseWitnesses(3, 2).cosigned(log.note(), 3)


def one_false_line(log: FalseLog, witnesses: FalseWitnesses):
    signed = witnesses.cosigned(log.note(), 3)
    last = replace(signed.signatures[-1], body=flipped(signed.signatures[-1].body))
    return replace(signed, signatures=(*signed.signatures[:-1], last))


def from_the_future(log: FalseLog, witnesses: FalseWitnesses):
    seconds = int(time.time()) + CLOCK_SKEW_SECONDS + 100
    return witnesses.cosigned(log.note(), 3, seconds)


def without_the_receipt(log: FalseLog, witnesses: FalseWitnesses):
    return witnesses.cosigned(log.note(log.size - 1), 3)


def a_split_view(log: FalseLog, witnesses: FalseWitnesses):
    """Witnesses saw a log whose first entry is another one."""
    shown = log.rewritten([log.receipts[1], *log.receipts[1:]])
    return witnesses.cosigned(shown.note(), 3)


def another_origin(log: FalseLog, witnesses: FalseWitnesses):
    other = FalseLog(log.signing, "log.example/other")
    for signed in log.receipts:
        other.append(signed)
    return witnesses.cosigned(other.note(), 3)


def not_the_logs(log: FalseLog, witnesses: FalseWitnesses):
    signed = witnesses.cosigned(log.note(), 3)
    return replace(signed, signatures=signed.signatures[1:])


@pytest.mark.rejects("C-97")
@pytest.mark.parametrize(
    ("cosign", "error", "match"),
    [
        (too_few, WitnessError, "1 of 3 witnesses have signed, 2 must"),
        (strangers, WitnessError, "0 of 3 witnesses"),
        (one_false_line, SignatureError, "no signature of key"),
        (from_the_future, SignatureError, "from the future"),
        (without_the_receipt, InclusionError, "without this receipt at 2"),
        (a_split_view, ConsistencyError, "two trees of 3 leaves"),
        (another_origin, SignatureError, "no signature of"),
        (not_the_logs, SignatureError, "no signature of"),
    ],
)
def test_without_enough_witnesses_of_this_log_nothing_is_decrypted(
    scene: Scene, cosign, error, match: str
):
    witnesses = witnessed(scene)
    with warm(scene, 2, witnesses=witnesses.policy) as client:
        scene.lies.cosign = cosign
        scene.refused(client, error, match)


@pytest.mark.rejects("C-97")
def test_a_split_view_of_a_grown_log_is_refused(scene: Scene):
    """The witnessed log has the receipt at its place, and another history before it."""
    witnesses = witnessed(scene)
    with warm(scene, 2, witnesses=witnesses.policy) as client:

        def cosign(log: FalseLog, found: FalseWitnesses):
            first = filler(scene, 1)
            shown = log.rewritten([first, *log.receipts[1:], filler(scene, 2)])
            scene.lies.log = shown
            return found.cosigned(shown.note(), 3)

        scene.lies.cosign = cosign
        scene.refused(client, ConsistencyError, "leads to old root")


@pytest.mark.rejects("C-97")
def test_a_receipt_must_be_in_the_log_that_the_witnesses_signed(scene: Scene):
    witnesses = witnessed(scene)
    with warm(scene, 2, witnesses=witnesses.policy) as client:
        scene.lies.inclusion = lambda log, index, size: tuple(
            map(flipped, log.inclusion(index, size))
        )
        scene.refused(client, InclusionError, "leads to root")


@pytest.mark.rejects("C-97")
def test_a_server_without_witnesses_gives_no_answer_to_who_wants_them(scene: Scene):
    policy = witnessed(scene).policy

    def refuse(name: str, context: grpc.ServicerContext) -> None:
        if name == rpc.GET_CHECKPOINT.name:
            context.set_trailing_metadata(
                ((rpc.REASON_METADATA, str(rpc.Reason.WITNESSES_MISSING)),)
            )
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "1 of 3 came")

    scene.lies.refuse = refuse
    with scene.client(witnesses=policy) as client:
        scene.refused(client, WitnessError, "witnesses-missing")


def refusing(
    scene: Scene, method: rpc.Method, times: int, reason: rpc.Reason | None = None, **trailing: str
) -> None:
    """Refuse a procedure so many times; without a reason as a connection that breaks."""
    left = times

    def refuse(name: str, context: grpc.ServicerContext) -> None:
        nonlocal left
        if name != method.name or left == 0:
            return
        left -= 1
        if reason is not None:
            context.set_trailing_metadata(((rpc.REASON_METADATA, str(reason)), *trailing.items()))
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    scene.lies.refuse = refuse


def test_a_signature_that_cannot_be_delivered_is_no_failure(scene: Scene):
    refusing(scene, rpc.COUNTERSIGN, ATTEMPTS)
    with scene.client() as client:
        first, second = scene.ask(client), scene.ask(client)
    assert (first.countersigned, second.countersigned) == ((False,), (True,))
    first.receipt.signed.verify_client(scene.world.keys.receipt_key().public)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.mark.accepts("C-96")
def test_a_broken_connection_repeats_the_same_request(scene: Scene, no_pause: None):
    refusing(scene, rpc.INFER, 2)
    with scene.client() as client:
        scene.ask(client)
    assert len(scene.lies.headers) == 3
    assert len(set(scene.lies.headers)) == 1


@pytest.mark.parametrize("retries", [0, 1])
def test_repetitions_are_bounded(scene: Scene, no_pause: None, retries: int):
    refusing(scene, rpc.INFER, 10)
    with scene.client(retries=retries) as client, pytest.raises(ConnectionLostError):
        scene.ask(client)
    assert len(scene.lies.headers) == retries + 1
    assert scene.phases[-1] is Phase.EXCHANGE


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (rpc.Reason.BUSY, ServerBusyError),
        (rpc.Reason.AUDIT_UNAVAILABLE, LogUnavailableError),
    ],
)
def test_a_refusal_is_not_repeated_and_its_receipt_is_named(scene: Scene, reason, error):
    refusing(scene, rpc.INFER, 1, reason, **{rpc.RECEIPT_METADATA: "0f" * 16})
    with (
        scene.client() as client,
        pytest.raises(error, match=rf"\(receipt {'0f' * 16}\)") as caught,
    ):
        scene.ask(client)
    assert caught.type is error
    assert len(scene.lies.headers) == 1


def test_what_is_no_receipts_id_is_not_shown(scene: Scene):
    refusing(scene, rpc.INFER, 1, rpc.Reason.BUSY, **{rpc.RECEIPT_METADATA: "see http://evil"})
    with scene.client() as client, pytest.raises(TransportError) as caught:
        scene.ask(client)
    assert "evil" not in str(caught.value)


@pytest.fixture
def saved(scene: Scene, tmp_path: Path) -> Path:
    with warm(scene, 1) as client:
        (path,) = scene.ask(client).save_receipt(tmp_path / "receipt.json")
        scene.ask(client)
    return path


def test_the_log_still_holds_a_kept_receipt(scene: Scene, saved: Path):
    with scene.client() as client:
        verified = client.verify_receipt(saved)
    assert (verified.index, verified.checkpoint.size) == (1, 2)
    assert verified.client_key == scene.world.keys.receipt_key().public


@pytest.mark.rejects("C-94")
@pytest.mark.parametrize(
    ("show", "error", "match"),
    [
        (lambda log, index, old: log.message(index - 1, old), ReceiptMismatchError, "another"),
        (
            message(inclusion=lambda honest, log: tuple(map(flipped, honest.inclusion))),
            InclusionError,
            "leads to root",
        ),
        (message(consistency=lambda honest, log: ()), ConsistencyError, "need a proof"),
    ],
)
def test_a_log_that_does_not_prove_a_kept_receipt_any_more_is_refused(
    scene: Scene, saved: Path, show, error, match: str
):
    scene.lies.show = show
    with scene.client() as client, pytest.raises(error, match=match):
        client.verify_receipt(saved)


@pytest.mark.rejects("C-94")
def test_a_kept_receipt_at_another_place_is_refused(scene: Scene, saved: Path):
    """The entry is in the log twice, and the server shows the later one."""
    log = scene.lies.log
    log.append(log.receipts[1])
    scene.lies.show = lambda log, index, old: log.message(3, old)
    with scene.client() as client, pytest.raises(ReceiptMismatchError, match="at 3, it was at 1"):
        client.verify_receipt(saved)


@pytest.mark.rejects("C-94")
def test_a_log_that_forked_after_a_kept_receipt_is_refused(scene: Scene, saved: Path):
    """It extends the checkpoint in the file, and not what this client has seen since."""
    log = scene.lies.log
    scene.lies.log = log.rewritten(
        [*log.receipts[:2], filler(scene, 1), filler(scene, 2), filler(scene, 3)]
    )
    with scene.client() as client, pytest.raises(ConsistencyError, match="leads to old root"):
        client.verify_receipt(saved)
