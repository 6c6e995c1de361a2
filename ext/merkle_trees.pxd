# cython: language_level=3
"""`merkle.h` for native modules. What must not go in here: anything that is not declared there."""

from libc.stdint cimport uint64_t

cdef extern from "merkle.h" nogil:
    enum:
        MERKLE_BYTES
        MERKLE_DEEPEST
        MERKLE_SHA256
        MERKLE_SM3

    ctypedef enum MerkleStatus:
        MERKLE_OK
        MERKLE_NO_ALGORITHM
        MERKLE_NO_DIGEST
        MERKLE_NO_LEAF
        MERKLE_ILL_FORMED

    ctypedef struct MerkleHash:
        pass

    ctypedef struct MerkleTree:
        uint64_t size
        unsigned char whole[64][32]

    MerkleStatus merkle_open(MerkleHash *hash, int algorithm)
    void merkle_close(MerkleHash *hash)
    MerkleStatus merkle_digest(MerkleHash *hash, const void *data, size_t size, unsigned char *digest)
    MerkleStatus merkle_prefixed(MerkleHash *hash, unsigned char prefix, const void *data, size_t size, unsigned char *digest)
    MerkleStatus merkle_leaf(MerkleHash *hash, const void *data, size_t size, unsigned char *digest)
    MerkleStatus merkle_node(MerkleHash *hash, const unsigned char *left, const unsigned char *right, unsigned char *digest)
    void merkle_begin(MerkleTree *tree)
    MerkleStatus merkle_append(MerkleHash *hash, MerkleTree *tree, const unsigned char *leaf)
    MerkleStatus merkle_root(MerkleHash *hash, const MerkleTree *tree, unsigned char *root)
    MerkleStatus merkle_root_of_hashes(MerkleHash *hash, const unsigned char *leaves, uint64_t count, unsigned char *root)
    MerkleStatus merkle_root_of_records(
        MerkleHash *hash, const unsigned char *packed, size_t size, uint64_t count, unsigned char *root)
    MerkleStatus merkle_path(
        MerkleHash *hash, const unsigned char *leaves, uint64_t count, uint64_t index, unsigned char *path, unsigned *hashes)
    MerkleStatus merkle_check(
        MerkleHash *hash, const unsigned char *leaf, uint64_t index, uint64_t size, const unsigned char *path, size_t hashes,
        const unsigned char *root, int *leads)
