/* Merkle trees as in RFC 6962 §2.1: leaf H(0x00 | data), node H(0x01 | left | right), split at the largest power of two below
 * the size; the tree of nothing is H(""). H is SHA-256 or SM3 (GB/T 32905), from libcrypto, and gives 32 bytes.
 *
 * A tree is kept as the roots of its whole subtrees, one a bit of its size, so appending needs no memory of leaves, and the
 * root is known at any time. Nothing is allocated but the context of a hash, once. A `MerkleHash` is used by one thread at a
 * time. What must not go in here: what a leaf is, files, signatures.
 */
#ifndef BROKER_MERKLE_H
#define BROKER_MERKLE_H

#include <stddef.h>
#include <stdint.h>

#define MERKLE_BYTES 32u
#define MERKLE_DEEPEST 64u /* hashes in a path, at most */

typedef enum { MERKLE_SHA256 = 1, MERKLE_SM3 = 2 } MerkleAlgorithm;

typedef enum {
    MERKLE_OK,
    MERKLE_NO_ALGORITHM, /* a number that is none of the above, or libcrypto does not offer it */
    MERKLE_NO_DIGEST,    /* libcrypto refused to hash */
    MERKLE_NO_LEAF,      /* there is no leaf of that index */
    MERKLE_ILL_FORMED    /* lengths of packed records do not add up */
} MerkleStatus;

typedef struct {
    void *context;   /* EVP_MD_CTX */
    void *algorithm; /* EVP_MD */
} MerkleHash;

typedef struct {
    uint64_t size; /* leaves, below 2^63 */
    unsigned char whole[MERKLE_DEEPEST][MERKLE_BYTES]; /* [i] is the root of 2^i leaves, if bit i of the size is set */
} MerkleTree;

/* --- hashes --------------------------------------------------------------------------------------------------------------- */

/* After anything but MERKLE_OK there is nothing to close, but closing does no harm. */
MerkleStatus merkle_open(MerkleHash *hash, int algorithm);
void merkle_close(MerkleHash *hash);

MerkleStatus merkle_digest(MerkleHash *hash, const void *data, size_t size, unsigned char *digest);
/* H(prefix | data) */
MerkleStatus merkle_prefixed(MerkleHash *hash, unsigned char prefix, const void *data, size_t size, unsigned char *digest);
MerkleStatus merkle_leaf(MerkleHash *hash, const void *data, size_t size, unsigned char *digest);
MerkleStatus merkle_node(MerkleHash *hash, const unsigned char *left, const unsigned char *right, unsigned char *digest);

/* --- trees ---------------------------------------------------------------------------------------------------------------- */

static inline void merkle_begin(MerkleTree *tree) { tree->size = 0; }

MerkleStatus merkle_append(MerkleHash *hash, MerkleTree *tree, const unsigned char *leaf);
MerkleStatus merkle_root(MerkleHash *hash, const MerkleTree *tree, unsigned char *root);

/* The root of leaves whose hashes stand one after the other. */
MerkleStatus merkle_root_of_hashes(MerkleHash *hash, const unsigned char *leaves, uint64_t count, unsigned char *root);

/* The root of records that stand one after the other, each behind its length (4 bytes, big-endian). There are exactly `count`.
 * */
MerkleStatus merkle_root_of_records(MerkleHash *hash, const unsigned char *packed, size_t size, uint64_t count,
                                    unsigned char *root);

/* --- proofs of inclusion -------------------------------------------------------------------------------------------------- */

/* PATH(index, leaves) of RFC 6962 §2.1.1, from the leaf's sibling to the root. There is room for MERKLE_DEEPEST hashes. */
MerkleStatus merkle_path(MerkleHash *hash, const unsigned char *leaves, uint64_t count, uint64_t index, unsigned char *path,
                         unsigned *hashes);

/* Whether a path leads from a leaf to a root (RFC 9162 §2.1.3.2); into `leads`. */
MerkleStatus merkle_check(MerkleHash *hash, const unsigned char *leaf, uint64_t index, uint64_t size, const unsigned char *path,
                          size_t hashes, const unsigned char *root, int *leads);

#endif
