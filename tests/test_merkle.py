"""Merkle trees: the vectors of Certificate Transparency's reference log, and RFC 6962 §2.1 written down once more, recursively.

What must not go in here: what the leaves of the audit log are (test_audit_*).
"""

from __future__ import annotations

import hashlib
import random
import struct

import pytest

from broker._native import merkle

ALGORITHMS = [name for name in ("sha256", "sm3") if name in hashlib.algorithms_available]
NUMBER = {"sha256": merkle.SHA256, "sm3": merkle.SM3}
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES.append(bytes(range(0x60, 0x70)))
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def plain_root(leaves: list[bytes], name: str = "sha256") -> bytes:
    if len(leaves) <= 1:
        return hashlib.new(name, b"\0" + leaves[0] if leaves else b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.new(name, b"\1" + plain_root(leaves[:split], name) + plain_root(leaves[split:], name)).digest()


def plain_path(leaves: list[bytes], index: int, name: str) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*plain_path(leaves[:split], index, name), plain_root(leaves[split:], name)]
    return [*plain_path(leaves[split:], index - split, name), plain_root(leaves[:split], name)]


def draw_leaves(count: int) -> list[bytes]:
    draw = random.Random(count)
    return [draw.randbytes(draw.choice((0, 1, 31, 64, 300))) for _ in range(count)]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_the_reference_log(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_size_has_the_root_and_the_paths_of_the_rfc(name: str) -> None:
    leaves, algorithm = draw_leaves(40), NUMBER[name]
    tree = merkle.Tree(algorithm)
    for size, leaf in enumerate(leaves, 1):
        tree.append(leaf)
        root = plain_root(leaves[:size], name)
        assert (len(tree), tree.root()) == (size, root)
        for index in range(size):
            path = merkle.path(leaves[:size], index, algorithm)
            assert path == plain_path(leaves[:size], index, name)
            assert merkle.check(leaves[index], index, size, path, root, algorithm)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 1000, 1024])
def test_all_ways_to_a_root_agree(name: str, size: int) -> None:
    leaves, algorithm = draw_leaves(size), NUMBER[name]
    packed = b"".join(struct.pack(">I", len(leaf)) + leaf for leaf in leaves)
    hashes = b"".join(merkle.leaf_hash(leaf, algorithm) for leaf in leaves)
    root = plain_root(leaves, name)
    assert merkle.root(leaves, algorithm) == root
    assert merkle.root_of_records(packed, size, algorithm) == root
    assert merkle.root_of_hashes(hashes, algorithm) == root


def test_a_path_proves_nothing_else() -> None:
    leaves = draw_leaves(11)
    root = merkle.root(leaves)
    for index in range(11):
        path = merkle.path(leaves, index)
        # a tree of another size may have the same shape above another leaf; a checkpoint says which size is meant
        assert [other for other in range(13) if merkle.check(leaves[index], other, 11, path, root)] == [index]
        assert not merkle.check(leaves[index] + b"x", index, 11, path, root)
        assert not merkle.check(leaves[index], index, 11, path[:-1], root)
        assert not merkle.check(leaves[index], index, 11, [*path, root], root)
        for step, one in enumerate(path):
            wrong = [*path[:step], bytes([one[0] ^ 1]) + one[1:], *path[step + 1 :]]
            assert not merkle.check(leaves[index], index, 11, wrong, root)


def test_what_is_ill_formed_is_refused() -> None:
    with pytest.raises(ValueError, match="algorithm"):
        merkle.root([], 3)
    with pytest.raises(IndexError):
        merkle.path([b"a"], 1)
    with pytest.raises(IndexError):
        merkle.path([], 0)
    with pytest.raises(ValueError, match="32 bytes"):
        merkle.check(b"a", 0, 1, [b"short"], bytes(32))
    with pytest.raises(ValueError, match="32 bytes"):
        merkle.root_of_hashes(bytes(33))
    for packed, count in ((b"\0\0\0\1a", 2), (b"\0\0\0\2a", 1), (b"\0\0\0\1ab", 1), (b"\0\0\0", 1), (b"\xff\xff\xff\xff", 1)):
        with pytest.raises(ValueError, match="add up"):
            merkle.root_of_records(packed, count)
    assert not merkle.check(b"a", 0, 0, [], merkle.root([]))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_digest_is_that_of_hashlib(name: str) -> None:
    for data in (b"", b"abc", bytes(1000)):
        assert merkle.digest(data, NUMBER[name]) == hashlib.new(name, data).digest()
        assert merkle.digest(data, NUMBER[name], 2) == hashlib.new(name, b"\2" + data).digest()
