# cython: language_level=3
"""Merkle trees of RFC 6962: the boundary of ext/merkle_trees.c. The contract is in `broker/_native/merkle.pyi`.

What must not go in here: what a leaf is, files, signatures.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from merkle_trees cimport (
    MERKLE_BYTES, MERKLE_DEEPEST, MERKLE_ILL_FORMED, MERKLE_NO_ALGORITHM, MERKLE_NO_LEAF, MERKLE_OK,
    MerkleHash, MerkleStatus, MerkleTree, merkle_append, merkle_begin, merkle_check, merkle_close, merkle_digest, merkle_leaf,
    merkle_open, merkle_path, merkle_prefixed, merkle_root, merkle_root_of_hashes, merkle_root_of_records,
)

SHA256, SM3 = 1, 2
HASH_BYTES = MERKLE_BYTES


cdef int judge(MerkleStatus status) except -1:
    if status == MERKLE_OK:
        return 0
    if status == MERKLE_NO_ALGORITHM:
        raise ValueError("algorithm: must be SHA256 (1) or SM3 (2), and one that libcrypto offers")
    if status == MERKLE_NO_LEAF:
        raise IndexError("index: there is no such leaf")
    if status == MERKLE_ILL_FORMED:
        raise ValueError("records: lengths do not add up")
    raise RuntimeError("libcrypto failed to hash")


@cython.final
cdef class _Hash:
    """A hash for the length of a call, or of a tree."""

    cdef MerkleHash hash

    def __cinit__(self, int algorithm):
        judge(merkle_open(&self.hash, algorithm))

    def __dealloc__(self):
        merkle_close(&self.hash)


cdef dict _hashes = {}    # by algorithm; the interpreter lock is held while one is used


cdef _Hash hash_of(int algorithm):
    found = _hashes.get(algorithm)
    if found is None:
        found = _hashes[algorithm] = _Hash(algorithm)
    return <_Hash>found


cdef const unsigned char *hash_at(bytes value, str name) except NULL:
    if value is None or PyBytes_GET_SIZE(value) != MERKLE_BYTES:
        raise ValueError(f"{name}: must be {MERKLE_BYTES} bytes")
    return <const unsigned char *>PyBytes_AS_STRING(value)


cdef uint64_t count_of(bytes hashes, str name) except? 0:
    if hashes is None or PyBytes_GET_SIZE(hashes) % MERKLE_BYTES:
        raise ValueError(f"{name}: must be hashes of {MERKLE_BYTES} bytes, one after the other")
    return <uint64_t>PyBytes_GET_SIZE(hashes) // MERKLE_BYTES


cdef bytes bytes_of(const unsigned char *hash):
    return PyBytes_FromStringAndSize(<const char *>hash, MERKLE_BYTES)


def digest(data, int algorithm=1, prefix=None):
    """See `merkle.pyi`."""
    cdef unsigned char made[MERKLE_BYTES]
    cdef _Hash hash = hash_of(algorithm)
    cdef Py_buffer view
    cdef MerkleStatus status
    cdef int before = -1 if prefix is None else <unsigned char>prefix
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if before < 0:
        status = merkle_digest(&hash.hash, view.buf, <size_t>view.len, made)
    else:
        status = merkle_prefixed(&hash.hash, <unsigned char>before, view.buf, <size_t>view.len, made)
    PyBuffer_Release(&view)
    judge(status)
    return bytes_of(made)


def leaf_hash(data, int algorithm=1):
    """See `merkle.pyi`."""
    return digest(data, algorithm, 0)


def root(leaves, int algorithm=1):
    """See `merkle.pyi`."""
    tree = Tree(algorithm)
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def root_of_hashes(bytes hashes not None, int algorithm=1):
    """See `merkle.pyi`."""
    cdef unsigned char made[MERKLE_BYTES]
    cdef uint64_t count = count_of(hashes, "hashes")
    cdef _Hash hash = hash_of(algorithm)
    judge(merkle_root_of_hashes(&hash.hash, <const unsigned char *>PyBytes_AS_STRING(hashes), count, made))
    return bytes_of(made)


def root_of_records(packed, uint64_t count, int algorithm=1):
    """See `merkle.pyi`."""
    cdef unsigned char made[MERKLE_BYTES]
    cdef _Hash hash = hash_of(algorithm)
    cdef Py_buffer view
    PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE)
    cdef MerkleStatus status = merkle_root_of_records(
        &hash.hash, <const unsigned char *>view.buf, <size_t>view.len, count, made)
    PyBuffer_Release(&view)
    judge(status)
    return bytes_of(made)


def path(leaves, uint64_t index, int algorithm=1):
    """See `merkle.pyi`."""
    return path_of_hashes(b"".join([leaf_hash(leaf, algorithm) for leaf in leaves]), index, algorithm)


def path_of_hashes(bytes hashes not None, uint64_t index, int algorithm=1):
    """See `merkle.pyi`."""
    cdef unsigned char made[MERKLE_DEEPEST * MERKLE_BYTES]
    cdef unsigned count = 0, i
    cdef uint64_t leaves = count_of(hashes, "hashes")
    cdef _Hash hash = hash_of(algorithm)
    judge(merkle_path(&hash.hash, <const unsigned char *>PyBytes_AS_STRING(hashes), leaves, index, made, &count))
    return [bytes_of(made + i * MERKLE_BYTES) for i in range(count)]


def check(leaf, uint64_t index, uint64_t size, path, bytes root not None, int algorithm=1):
    """See `merkle.pyi`."""
    return check_hash(leaf_hash(leaf, algorithm), index, size, path, root, algorithm)


def check_hash(bytes leaf not None, uint64_t index, uint64_t size, path, bytes root not None, int algorithm=1):
    """See `merkle.pyi`."""
    cdef list hashes = list(path)
    cdef int leads = 0
    for one in hashes:
        hash_at(one, "path")
    cdef bytes joined = b"".join(hashes)
    cdef _Hash hash = hash_of(algorithm)
    judge(merkle_check(&hash.hash, hash_at(leaf, "leaf"), index, size, <const unsigned char *>PyBytes_AS_STRING(joined),
                       len(hashes), hash_at(root, "root"), &leads))
    return leads != 0


@cython.final
cdef class Tree:
    """See `merkle.pyi`."""

    cdef MerkleTree _tree
    cdef _Hash _hash
    cdef readonly int algorithm

    def __cinit__(self, int algorithm=1):
        self._hash = hash_of(algorithm)
        self.algorithm = algorithm
        merkle_begin(&self._tree)

    def __len__(self):
        return self._tree.size

    def append(self, data):
        """See `merkle.pyi`."""
        self.append_hash(leaf_hash(data, self.algorithm))

    def append_hash(self, bytes leaf not None):
        """See `merkle.pyi`."""
        judge(merkle_append(&self._hash.hash, &self._tree, hash_at(leaf, "leaf")))

    def root(self):
        """See `merkle.pyi`."""
        cdef unsigned char made[MERKLE_BYTES]
        judge(merkle_root(&self._hash.hash, &self._tree, made))
        return bytes_of(made)
