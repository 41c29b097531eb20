from __future__ import annotations

import builtins
import subprocess
import sys
from dataclasses import replace

import pytest

from audit import bls
from audit.aggregate_cosignature import (
    aggregate_cosignatures,
    cosign_bls,
    largest_aggregate,
    verify_aggregate_cosignature,
    verify_bls_cosignature,
)
from audit.bls import (
    BlsKey,
    BlsSigningKey,
    BlsUnavailableError,
    aggregate,
    verify_aggregate,
)
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.cosignature import Witness, WitnessPolicy
from audit.errors import NoteError, SignatureError, WitnessError
from audit.keys import SigningKey
from audit.signed_note import KeyType, NoteKey, NoteSignature, SignedNote
from tests.unit.audit.bls_points import G1_to_pubkey, G2ProofOfPossession, add, neg, pubkey_to_G1
from tests.unit.audit.example_receipts import LOG, ORIGIN

# Published vectors: github.com/ethereum/bls12-381-tests, release v0.1.2, from `sign` and
# `fast_aggregate_verify`.  Their scheme is the one with proofs of possession.
SECRETS = (
    "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3",
    "47b8192d77bf871b62e87859d653922725724a5c031afeabc60bcef5ff665138",
    "328388aff0d4a5b7dc9205abd374e7e98f3cd9f3418edb4eafda5fb16473d216",
)
PUBLICS = (
    "a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a",
    "b301803f8b5ac4a1133581fc676dfedc60d891dd5fa99028805e5ea5b08d3491af75d0707adab3b70c6a6a580217bf81",
    "b53d21a4cfd562c469cc81514d4ce5a6b577d8403d32a394dc265dd190b47fa9f829fdd7963afdf972e5e77854051f6f",
)
SIGNED_ZEROS = (
    (
        "b6ed936746e01f8ecf281f020953fbf1f01debd5657c4a383940b020b26507f6076334f91e2366c96e9ab279fb515809"
        "0352ea1c5b0c9274504f4f0e7053af24802e51e4568d164fe986834f41e55c8e850ce1f98458c0cfc9ab380b55285a55"
    ),
    (
        "b23c46be3a001c63ca711f87a005c200cc550b9429d5f4eb38d74322144f1b63926da3388979e5321012fb1a0526bcd1"
        "00b5ef5fe72628ce4cd5e904aeaa3279527843fae5ca9ca675f4f51ed8f83bbf7155da9ecc9663100a885d5dc6df96d9"
    ),
    (
        "948a7cb99f76d616c2c564ce9bf4a519f1bea6b0a624a02276443c245854219fabb8d4ce061d255af5330b078d538068"
        "1751aa7053da2c98bae898edc218c75f07e24d8802a17cd1f6833b71e58f5eb5b94208b4d0bb3848cecb075ea21be115"
    ),
)
SIGNED_AB = (
    (
        "91347bccf740d859038fcdcaf233eeceb2a436bcaaee9b2aa3bfb70efe29dfb2677562ccbea1c8e061fb9971b0753c24"
        "0622fab78489ce96768259fc01360346da5b9f579e5da0d941e4c6ba18a0e64906082375394f337fa1af2b7127b0d121"
    ),
    (
        "9674e2228034527f4c083206032b020310face156d4a4685e2fcaec2f6f3665aa635d90347b6ce124eb879266b1e801d"
        "185de36a0a289b85e9039662634f2eea1e02e670bc7ab849d006a70b2f93b84597558a05b879c8d445f387a5d5b653df"
    ),
    (
        "ae82747ddeefe4fd64cf9cedb9b04ae3e8a43420cd255e3c7cd06a8d88b7c7f8638543719981c5d16fa3527c468c25f0"
        "026704a6951bde891360c7e8d12ddee0559004ccdbe6046b55bae1b257ee97f7cdb955773d7cf29adf3ccbb9975e4eb9"
    ),
)
AGGREGATE_AB = (
    "9712c3edd73a209c742b8250759db12549b3eaf43b5ca61376d9f30e2747dbcf842d8b2ac0901d2a093713e20284a767"
    "0fcf6954e9ab93de991bb9b313e664785a075fc285806fa5224c82bde146561b446ccfc706a64b8579513cfc4ff1d930"
)
AB = b"\xab" * 32
INFINITE_KEY = bytes([0xC0]) + bytes(47)
INFINITE_SIGNATURE = bytes([0xC0]) + bytes(95)

CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
NAMES = tuple(f"witness.example/w{number}" for number in range(3))


@pytest.fixture(scope="module")
def signers() -> list[BlsSigningKey]:
    return [BlsSigningKey.from_secret(bytes.fromhex(secret)) for secret in SECRETS]


@pytest.fixture(scope="module")
def keys(signers) -> list[BlsKey]:
    return [signer.proven() for signer in signers]


@pytest.fixture(scope="module")
def policy(keys) -> WitnessPolicy:
    return WitnessPolicy(
        tuple(
            Witness(NoteKey(name, bytes([at]) * 32, KeyType.COSIGNATURE), None, key)
            for at, (name, key) in enumerate(zip(NAMES, keys, strict=True))
        ),
        2,
    )


@pytest.fixture(scope="module")
def signatures(signers) -> dict[str, bytes]:
    return {
        name: cosign_bls(NOTE.text, name, signer).body
        for name, signer in zip(NAMES, signers, strict=True)
    }


def with_aggregate(policy, signatures) -> SignedNote:
    return NOTE.with_signatures([aggregate_cosignatures(NOTE.text, ORIGIN, policy, signatures)])


def test_published_signatures_are_made(signers):
    assert [signer.public.hex() for signer in signers] == list(PUBLICS)
    assert [signer.sign(bytes(32)).hex() for signer in signers] == list(SIGNED_ZEROS)
    assert [signer.secret().hex() for signer in signers] == list(SECRETS)


def test_published_aggregate_is_made_and_verifies(keys):
    total = aggregate([bytes.fromhex(item) for item in SIGNED_AB])
    assert total.hex() == AGGREGATE_AB
    verify_aggregate(keys, total, AB)


@pytest.mark.parametrize(
    ("chosen", "signature"),
    [
        ((0, 1), AGGREGATE_AB),  # fewer keys than signed
        ((0, 1, 2, 2), AGGREGATE_AB),  # `fast_aggregate_verify_extra_pubkey`
        ((0, 1, 2), AGGREGATE_AB[:-8] + "ffffffff"),  # `fast_aggregate_verify_tampered_signature`
        ((), INFINITE_SIGNATURE.hex()),  # `na_pubkeys_and_infinity_signature`
        ((), bytes(96).hex()),  # `na_pubkeys_and_na_signature`
        ((0,), INFINITE_SIGNATURE.hex()),
        ((0,), AGGREGATE_AB[:-2]),
    ],
)
def test_published_negatives_are_refused(keys, chosen, signature):
    with pytest.raises(SignatureError):
        verify_aggregate([keys[at] for at in chosen], bytes.fromhex(signature), AB)


def test_one_key_does_not_count_twice(keys):
    """The sum of one signature with itself verifies under the key's sum with itself."""
    signature = bytes.fromhex(SIGNED_AB[0])
    verify_aggregate([keys[0]], signature, AB)
    with pytest.raises(SignatureError, match="different keys"):
        verify_aggregate([keys[0], keys[0]], aggregate([signature, signature]), AB)


def test_another_message_is_refused(keys):
    with pytest.raises(SignatureError):
        verify_aggregate(keys, bytes.fromhex(AGGREGATE_AB), bytes(32))


def test_generated_keys_differ_and_come_back():
    one, two = BlsSigningKey.generate(), BlsSigningKey.generate()
    assert one.public != two.public
    assert BlsSigningKey.from_secret(one.secret()).public == one.public


@pytest.mark.parametrize("secret", [bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_what_is_no_secret_key_is_refused(secret):
    with pytest.raises(SignatureError):
        BlsSigningKey.from_secret(secret)


def test_keys_of_another_size_are_refused():
    for public, proof in ((bytes(47), bytes(96)), (bytes(48), bytes(95))):
        with pytest.raises(NoteError):
            BlsKey(public, proof)


def _outside_the_subgroup() -> bytes:
    """A point of the curve whose order is not the group's."""
    for number in range(1, 100):
        public = bytes([0x80]) + number.to_bytes(47, "big")
        try:
            pubkey_to_G1(public)
        except ValueError:
            continue
        return public
    raise AssertionError


@pytest.mark.parametrize("public", [INFINITE_KEY, _outside_the_subgroup(), bytes(48)])
def test_keys_that_are_no_points_of_the_group_are_refused(keys, public):
    for proof in (INFINITE_SIGNATURE, keys[0].proof):
        with pytest.raises(SignatureError, match="possession"):
            verify_aggregate([BlsKey(public, proof)], INFINITE_SIGNATURE, AB)


@pytest.mark.rejects("C-100")
def test_rogue_key_attack_is_refused(signers, keys):
    """A key made from the victim's cancels it: its owner's signature alone is one of both."""
    honest, attacker = keys[0], signers[1]
    rogue = G1_to_pubkey(add(pubkey_to_G1(attacker.public), neg(pubkey_to_G1(honest.public))))
    forged = attacker.sign(AB)
    assert G2ProofOfPossession.FastAggregateVerify([honest.public, rogue], AB, forged)
    for proof in (keys[1].proof, attacker.sign(rogue), honest.proof):
        with pytest.raises(SignatureError, match="possession"):
            verify_aggregate([honest, BlsKey(rogue, proof)], forged, AB)


def test_a_signature_of_a_checkpoint_is_no_proof_of_possession(signers, keys):
    # Even of a text that is the key's own bytes: the two have different domains.
    signed = signers[0].sign(keys[0].public)
    with pytest.raises(SignatureError, match="possession"):
        BlsKey(keys[0].public, signed).require_possession()


@pytest.mark.accepts("C-100")
def test_an_aggregate_in_a_checkpoint_names_who_signed(policy, signatures):
    both = with_aggregate(policy, {name: signatures[name] for name in (NAMES[0], NAMES[2])})
    assert verify_aggregate_cosignature(both, ORIGIN, policy) == (NAMES[0], NAMES[2])
    decoded = SignedNote.decoded(both.encoded())
    assert decoded == both
    all_three = with_aggregate(policy, signatures).with_signatures(both.signatures)
    assert verify_aggregate_cosignature(all_three, ORIGIN, policy) == NAMES
    assert len(all_three.signatures[1].body) == 1 + 96


@pytest.mark.rejects("C-100")
def test_an_aggregate_of_another_checkpoint_is_refused(policy, signatures):
    line = aggregate_cosignatures(NOTE.text, ORIGIN, policy, signatures)
    for change in ({"size": 8}, {"root": bytes(32)}):
        other = sign_checkpoint(replace(CHECKPOINT, **change), LOG)
        with pytest.raises(SignatureError):
            verify_aggregate_cosignature(other.with_signatures([line]), ORIGIN, policy)


@pytest.mark.rejects("C-100")
def test_an_aggregate_that_names_others_is_refused(policy, signatures):
    two = {name: signatures[name] for name in NAMES[:2]}
    line = aggregate_cosignatures(NOTE.text, ORIGIN, policy, two)
    for bits in (0b101, 0b110, 0b111):
        body = bytes([bits]) + line.body[1:]
        note = NOTE.with_signatures([NoteSignature(line.name, line.key_id, body)])
        with pytest.raises(SignatureError):
            verify_aggregate_cosignature(note, ORIGIN, policy)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"\x00" + body[1:],
        lambda body: bytes([body[0] | 8]) + body[1:],
        lambda body: body[:-1],
        lambda body: body + b"\x00",
    ],
)
def test_malformed_aggregates_are_refused(policy, signatures, change):
    line = aggregate_cosignatures(NOTE.text, ORIGIN, policy, signatures)
    altered = NoteSignature(line.name, line.key_id, change(line.body))
    with pytest.raises(SignatureError, match="bitmap"):
        largest_aggregate(NOTE.with_signatures([altered]), ORIGIN, policy)


def test_too_few_signers_are_refused(policy, signatures):
    one = with_aggregate(policy, {NAMES[0]: signatures[NAMES[0]]})
    with pytest.raises(WitnessError, match="of 1 witnesses, 2"):
        verify_aggregate_cosignature(one, ORIGIN, policy)
    with pytest.raises(WitnessError, match="of 0 witnesses"):
        verify_aggregate_cosignature(NOTE, ORIGIN, policy)


@pytest.mark.rejects("C-100")
def test_a_policy_with_an_unproven_key_verifies_nothing(policy, signatures):
    note = with_aggregate(policy, signatures)
    first, second, third = policy.witnesses
    false = replace(second, bls=BlsKey(second.bls.public, first.bls.proof))
    with pytest.raises(SignatureError, match="possession"):
        verify_aggregate_cosignature(note, ORIGIN, replace(policy, witnesses=(first, false, third)))


def test_under_another_list_of_keys_the_aggregate_is_a_strangers(policy, signatures):
    note = with_aggregate(policy, signatures)
    for witnesses in (policy.witnesses[:2], policy.witnesses[::-1]):
        assert largest_aggregate(note, ORIGIN, replace(policy, witnesses=witnesses)) is None


def test_false_signatures_are_not_added(policy, signatures, signers):
    false = signatures | {NAMES[1]: signers[1].sign(b"another text")}
    with pytest.raises(SignatureError):
        aggregate_cosignatures(NOTE.text, ORIGIN, policy, false)
    with pytest.raises(SignatureError):
        aggregate_cosignatures(NOTE.text, ORIGIN, policy, signatures | {"stranger": bytes(96)})
    with pytest.raises(SignatureError):
        aggregate([bytes(96)])
    with pytest.raises(SignatureError):
        aggregate([])
    with pytest.raises(SignatureError):
        verify_bls_cosignature(NOTE.text, policy.witnesses[1].bls, false[NAMES[1]])
    verify_bls_cosignature(NOTE.text, policy.witnesses[1].bls, signatures[NAMES[1]])


def test_one_bls_key_cannot_stand_for_two_witnesses(keys):
    twins = [
        Witness(NoteKey(name, SigningKey.generate().public, KeyType.COSIGNATURE), None, keys[0])
        for name in NAMES[:2]
    ]
    with pytest.raises(NoteError, match="own BLS key"):
        WitnessPolicy(tuple(twins), 2)


def test_loading_the_library_leaves_the_limit_of_recursion_alone():
    program = (
        "import json, sys\n"
        "from audit.bls import BlsSigningKey\n"
        "before = sys.getrecursionlimit()\n"
        "BlsSigningKey.generate().sign(b'message')\n"
        "assert sys.getrecursionlimit() == before\n"
        "try:\n"
        "    json.loads('[' * 90_000)\n"
        "except RecursionError:\n"
        "    print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout == b"refused\n"


def test_the_library_is_loaded_by_one_thread_at_a_time():
    """A second one would take the limit that the library sets for the one to put back."""
    program = (
        "import builtins, sys, threading, time\n"
        "from audit import bls\n"
        "imported = builtins.__import__\n"
        "begun = threading.Event()\n"
        "def slowly(name, *rest, **options):\n"
        "    if name == 'py_ecc.bls.ciphersuites':\n"
        "        sys.setrecursionlimit(100_000)\n"
        "        begun.set()\n"
        "        time.sleep(0.3)\n"
        "    return imported(name, *rest, **options)\n"
        "builtins.__import__ = slowly\n"
        "before = sys.getrecursionlimit()\n"
        "threads = [threading.Thread(target=bls._scheme) for _ in range(2)]\n"
        "threads[0].start()\n"
        "begun.wait()\n"
        "threads[1].start()\n"
        "for thread in threads:\n"
        "    thread.join()\n"
        "print(sys.getrecursionlimit() == before)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout == b"True\n"


def test_a_deep_stack_changes_no_verdict(keys):
    def below(frames, work):
        return work() if frames == 0 else below(frames - 1, work)

    signer = BlsSigningKey.generate()
    frames = sys.getrecursionlimit() * 7 // 10
    signature = below(frames, lambda: signer.sign(AB))
    below(frames, lambda: verify_aggregate([signer.proven()], signature, AB))


def test_without_the_library_the_error_says_what_to_install(monkeypatch, keys):
    imported = builtins.__import__

    def without_py_ecc(name, *rest, **options):
        if name.startswith("py_ecc"):
            raise ImportError(name)
        return imported(name, *rest, **options)

    bls._scheme.cache_clear()
    bls._possessed.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_py_ecc)
    with pytest.raises(BlsUnavailableError, match=r"blindproof\[witness\]"):
        verify_aggregate(keys, bytes(96), AB)
    monkeypatch.undo()
    bls._scheme.cache_clear()
