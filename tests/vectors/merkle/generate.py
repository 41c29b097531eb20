"""Write the test vectors beside this file: ``python -m tests.vectors.merkle.generate``.

transparency-dev/merkle (Apache-2.0) publishes 98 cases for inclusion and 98 for consistency, each a
file below `testdata/`, written by its `cmd/proofgen`.  Its leaves, roots and valid proofs are data
below, as they stand there; the cases are made of them here, of the same kinds, in the same order
and with the same descriptions.  `test_merkle_vectors.py` has some published files to compare with.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PROVENANCE = {
    "repository": "github.com/transparency-dev/merkle",
    "licence": "Apache-2.0",
    "generator": "cmd/proofgen/main.go",
    "commit": "0e039277d77118c07aa643920617ab865274c7c0",
    "made by": "python -m tests.vectors.merkle.generate",
}

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
NODE = {
    name: bytes.fromhex(text)
    for name, text in {
        "1": "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "2-3": "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "4": "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "4-5": "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "4-7": "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        "6": "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "6-7": "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    }.items()
}
INCLUSION: list[tuple[int, int, list[bytes]]] = [
    (0, 1, []),
    (0, 8, [NODE["1"], NODE["2-3"], NODE["4-7"]]),
    (5, 8, [NODE["4"], NODE["6-7"], ROOTS[3]]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [ROOTS[0], NODE["2-3"], NODE["4"]]),
]
CONSISTENCY: list[tuple[int, int, list[bytes]]] = [
    (1, 1, []),
    (1, 8, [NODE["1"], NODE["2-3"], NODE["4-7"]]),
    (6, 8, [NODE["4-5"], NODE["6-7"], ROOTS[3]]),
    (2, 5, [NODE["2-3"], NODE["4"]]),
    (6, 7, [NODE["4-5"], NODE["6"], ROOTS[3]]),
]
SOME_HASH = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
EMPTY = sha256(b"").digest()
UINT64 = 1 << 64

Case = dict[str, Any]


def flipped(proof: list[bytes], at: int, bit: int) -> list[bytes]:
    """The proof with one bit of one hash's first byte changed."""
    changed = bytes((proof[at][0] ^ bit,)) + proof[at][1:]
    return [*proof[:at], changed, *proof[at + 1 :]]


def inclusion_case(
    group: str,
    desc: str,
    *,
    valid: bool = False,
    index: int,
    size: int,
    root: bytes,
    leaf: bytes,
    proof: list[bytes],
) -> Case:
    return {
        "group": group,
        "leafIdx": index % UINT64,
        "treeSize": size,
        "root": text(root),
        "leafHash": text(leaf),
        "proof": [text(item) for item in proof],
        "desc": desc,
        "wantErr": not valid,
    }


def inclusion() -> Iterator[Case]:
    for number, (index, size, proof) in enumerate(INCLUSION):
        root, leaf = ROOTS[size - 1], sha256(b"\x00" + LEAVES[index]).digest()
        base: dict[str, Any] = {
            "index": index,
            "size": size,
            "root": root,
            "leaf": leaf,
            "proof": proof,
        }
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("leafIdx sub @1", {"index": index - 1}),
            ("leafIdx plus @1", {"index": index + 1}),
            ("leafIdx XOR @2", {"index": index ^ 2}),
            ("treeSize mul @2", {"size": size * 2}),
            ("treeSize div @2", {"size": size // 2}),
            ("wrong leaf", {"leaf": b"WrongLeaf"}),
            ("empty root", {"root": EMPTY}),
            ("random root", {"root": SOME_HASH}),
            ("trailing garbage", {"proof": [*proof, b""]}),
            ("trailing root", {"proof": [*proof, root]}),
            ("preceding garbage", {"proof": [b"", *proof]}),
            ("preceding root", {"proof": [root, *proof]}),
        ]
        wrong += [
            (f"modified proof[{at}] bit @3", {"proof": flipped(proof, at, 8)})
            for at in range(len(proof))
        ]
        if proof:
            wrong.append(("removed component", {"proof": proof[:-1]}))
        if len(proof) > 1:
            wrong.append(("inserted component", {"proof": [proof[0], SOME_HASH, *proof[1:]]}))
        yield inclusion_case(str(number), "happy path", valid=True, **base)
        for desc, change in wrong:
            yield inclusion_case(str(number), desc, **(base | change))
    for number, (index, size) in enumerate([(0, 0), (0, 1), (1, 0), (2, 1)]):
        for desc, root, leaf in (
            ("random leaf", b"", SOME_HASH),
            ("empty root", EMPTY, b""),
            ("empty root and random leaf", EMPTY, SOME_HASH),
        ):
            group = f"additional/{number}"
            yield inclusion_case(
                group, desc, index=index, size=size, root=root, leaf=leaf, proof=[]
            )
    data = sha256(b"\x00data").digest()
    for desc, root, leaf, valid in (
        ("matching root and leaf", data, data, True),
        ("empty leaf", data, b"", False),
        ("empty root", b"", data, False),
        ("empty root and leaf", b"", b"", False),
    ):
        yield inclusion_case(
            "single-entry", desc, valid=valid, index=0, size=1, root=root, leaf=leaf, proof=[]
        )


def consistency_case(
    group: str,
    desc: str,
    sizes: tuple[int, int],
    roots: tuple[bytes, bytes],
    proof: list[bytes],
    *,
    valid: bool = False,
) -> Case:
    return {
        "group": group,
        "size1": sizes[0] % UINT64,
        "size2": sizes[1],
        "root1": text(roots[0]),
        "root2": text(roots[1]),
        "proof": [text(item) for item in proof],
        "desc": desc,
        "wantErr": not valid,
    }


def consistency() -> Iterator[Case]:
    for number, (old, new, proof) in enumerate(CONSISTENCY):
        group = str(number)
        one, two = ROOTS[old - 1], ROOTS[new - 1]
        sizes, roots = (old, new), (one, two)
        yield consistency_case(group, "happy path", sizes, roots, proof, valid=True)
        if not proof:
            continue
        for desc, other in (
            ("size1 sub @1", (old - 1, new)),
            ("size1 plus @1", (old + 1, new)),
            ("size1 XOR @2", (old ^ 2, new)),
            ("size2 mul @2", (old, new * 2)),
            ("size2 div @2", (old, new // 2)),
        ):
            yield consistency_case(group, desc, other, roots, proof)
        for desc, others in (
            ("wrong root1", (b"WrongRoot", two)),
            ("wrong root2", (one, b"WrongRoot")),
            ("swapped roots", (two, one)),
        ):
            yield consistency_case(group, desc, sizes, others, proof)
        wrong: list[tuple[str, list[bytes]]] = [
            ("empty proof", []),
            ("trailing garbage", [*proof, b""]),
            ("trailing root1", [*proof, one]),
            ("trailing root2", [*proof, two]),
            ("preceding garbage", [b"", *proof]),
            ("preceding root1", [one, *proof]),
            ("preceding root2", [two, *proof]),
            ("preceding proof @0", [proof[0], *proof]),
            ("truncated proof", proof[:-1]),
        ]
        wrong += [
            (f"modified proof@{at} bit @4", flipped(proof, at, 16)) for at in range(len(proof))
        ]
        for desc, changed in wrong:
            yield consistency_case(group, desc, sizes, roots, changed)
    one, two = b"don't care 1", b"don't care 2"
    for desc, sizes, roots, proof, valid in (
        ("sizes are equal (zero) but roots are not", (0, 0), (one, two), [], False),
        ("sizes are equal (one) but roots are not", (1, 1), (one, two), [], False),
        ("sizes are equal (zero) and proof is empty", (0, 0), (one, one), [], False),
        ("size1 is zero and does not equal size2", (0, 1), (one, two), [], False),
        ("sizes are equal (one) and proof is empty", (1, 1), (two, two), [], True),
        ("size1 is greater than size2", (1, 0), (one, two), [], False),
        ("size1 is greater than size2 again", (2, 1), (one, two), [], False),
        ("sizes do not watch and proof is empty", (1, 2), (one, two), [], False),
        ("roots do not match and sizes are zero", (0, 0), (EMPTY, two), [], False),
        ("roots do not not match and sizes are one", (1, 1), (EMPTY, two), [], False),
        (
            "sizes match but proof is not empty and sizes are zero",
            (0, 0),
            (EMPTY, EMPTY),
            [EMPTY],
            False,
        ),
        (
            "sizes match but proof is not empty and sizes are one",
            (1, 1),
            (EMPTY, EMPTY),
            [EMPTY],
            False,
        ),
        ("size1 is zero and size2 is not zero", (0, 1), (EMPTY, two), [], False),
        (
            "consistency check on empty tree (size1 is zero) is useless",
            (0, 1),
            (EMPTY, EMPTY),
            [EMPTY],
            False,
        ),
    ):
        yield consistency_case("additional", desc, sizes, roots, proof, valid=valid)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> None:
    """Write both files."""
    for name, cases in (("inclusion", inclusion()), ("consistency", consistency())):
        content = {"provenance": PROVENANCE, "cases": list(cases)}
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
