"""What runs on a node, without a cluster."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

import ray

from protocol.errors import EncodingError
from server.ray_answering.actor import WorkerActor, own_version
from server.refusals import Refusal
from server.workers.frames import Frame, Kind, decode_frame
from server.workers.tasks import refusal_of
from wire.rpc import Reason

SECRET = bytes(range(32))
MODEL, SHARE = b"m" * 32, b"s" * 32
TASK = ("tenant", MODEL, None)


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> WorkerActor:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")  # what the actor sets ends with the test
    made = WorkerActor()
    made.configure(Frame(Kind.CONFIGURE, (SECRET, 1, own_version())).encoded())
    return made


def refusal(actor: WorkerActor, frame: Frame, names: bytes = b"", held: tuple = ()) -> Refusal:
    data, words = actor.perform(frame.encoded(), names, held)
    reply = decode_frame(data)
    assert (reply.kind, words) == (Kind.REFUSED, b"")
    return refusal_of(reply.fields[1:])


def test_a_node_with_another_version_does_not_work():
    frame = Frame(Kind.CONFIGURE, (SECRET, 1, "0.0.0"))
    with pytest.raises(EncodingError, match=r"the server 0\.0\.0"):
        WorkerActor().configure(frame.encoded())


def test_work_before_configuration_is_refused():
    with pytest.raises(EncodingError, match="configured first"):
        WorkerActor().configure(Frame(Kind.INFER, TASK).encoded())


def test_what_does_not_come_with_a_task_is_missing(actor: WorkerActor):
    found = refusal(actor, Frame(Kind.INFER, TASK, (b"header",)))
    assert (found.reason, str(found)) == (Reason.MALFORMED, "a task without something it needs")


def test_what_was_lost_with_a_node_loses_the_request(
    actor: WorkerActor, monkeypatch: pytest.MonkeyPatch
):
    def get(reference: object) -> bytes:
        raise ray.exceptions.ObjectLostError(str(reference), None, "")

    monkeypatch.setattr(ray, "get", get)
    for frame in (Frame(Kind.INFER, TASK, (b"header",)), Frame(Kind.PROVE, (TASK, (SHARE,)))):
        assert refusal(actor, frame, MODEL + SHARE, (1, 2)).reason is Reason.WORKER_LOST


def test_a_model_is_compared_with_its_digest(actor: WorkerActor, monkeypatch: pytest.MonkeyPatch):
    supplied = Frame(Kind.SUPPLY, (), (b"card", b"registration", b"secret")).encoded()
    monkeypatch.setattr(ray, "get", lambda reference: supplied)
    found = refusal(actor, Frame(Kind.INFER, TASK, (b"header",)), MODEL, (1,))
    assert found.reason is Reason.MALFORMED


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, Frame(Kind.ANSWER).encoded()])
def test_what_is_no_work_is_refused(actor: WorkerActor, data: bytes):
    reply = decode_frame(actor.perform(data, b"", ())[0])
    assert refusal_of(reply.fields[1:]).reason is Reason.MALFORMED
