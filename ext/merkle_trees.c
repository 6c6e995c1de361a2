/* Merkle trees of RFC 6962 over libcrypto: see `merkle.h`. What must not go in here: what a leaf is. */
#include "merkle.h"

#include <openssl/evp.h>
#include <string.h>

enum { LEAF = 0x00, NODE = 0x01, LENGTH_BYTES = 4 };

/* --- hashes --------------------------------------------------------------------------------------------------------------- */

MerkleStatus merkle_open(MerkleHash *hash, int algorithm)
{
    const char *name = algorithm == MERKLE_SHA256 ? "SHA256" : algorithm == MERKLE_SM3 ? "SM3" : NULL;

    hash->context = NULL;
    hash->algorithm = name == NULL ? NULL : EVP_MD_fetch(NULL, name, NULL);
    if (hash->algorithm == NULL)
        return MERKLE_NO_ALGORITHM;
    hash->context = EVP_MD_CTX_new();
    if (hash->context != NULL && EVP_MD_get_size(hash->algorithm) == (int)MERKLE_BYTES)
        return MERKLE_OK;
    merkle_close(hash);
    return MERKLE_NO_DIGEST;
}

void merkle_close(MerkleHash *hash)
{
    EVP_MD_CTX_free(hash->context);
    EVP_MD_free(hash->algorithm);
    hash->context = NULL;
    hash->algorithm = NULL;
}

/* Two pieces, so that a prefix and what follows need not be copied together. */
static MerkleStatus digest_pieces(MerkleHash *hash, const void *first, size_t first_size, const void *second,
                                  size_t second_size, unsigned char *digest)
{
    if (EVP_DigestInit_ex2(hash->context, hash->algorithm, NULL) != 1 ||
        (first_size != 0 && EVP_DigestUpdate(hash->context, first, first_size) != 1) ||
        (second_size != 0 && EVP_DigestUpdate(hash->context, second, second_size) != 1) ||
        EVP_DigestFinal_ex(hash->context, digest, NULL) != 1)
        return MERKLE_NO_DIGEST;
    return MERKLE_OK;
}

MerkleStatus merkle_digest(MerkleHash *hash, const void *data, size_t size, unsigned char *digest)
{
    return digest_pieces(hash, data, size, NULL, 0, digest);
}

MerkleStatus merkle_prefixed(MerkleHash *hash, unsigned char prefix, const void *data, size_t size, unsigned char *digest)
{
    return digest_pieces(hash, &prefix, 1, data, size, digest);
}

MerkleStatus merkle_leaf(MerkleHash *hash, const void *data, size_t size, unsigned char *digest)
{
    return merkle_prefixed(hash, LEAF, data, size, digest);
}

MerkleStatus merkle_node(MerkleHash *hash, const unsigned char *left, const unsigned char *right, unsigned char *digest)
{
    unsigned char both[1 + 2 * MERKLE_BYTES];

    both[0] = NODE;
    memcpy(both + 1, left, MERKLE_BYTES);
    memcpy(both + 1 + MERKLE_BYTES, right, MERKLE_BYTES);
    return merkle_digest(hash, both, sizeof both, digest);
}

/* --- trees ---------------------------------------------------------------------------------------------------------------- */

MerkleStatus merkle_append(MerkleHash *hash, MerkleTree *tree, const unsigned char *leaf)
{
    unsigned char carried[MERKLE_BYTES];
    MerkleStatus status;
    unsigned level = 0;

    memcpy(carried, leaf, MERKLE_BYTES);
    for (; tree->size >> level & 1; level++)
        if ((status = merkle_node(hash, tree->whole[level], carried, carried)) != MERKLE_OK)
            return status;
    memcpy(tree->whole[level], carried, MERKLE_BYTES);
    tree->size++;
    return MERKLE_OK;
}

MerkleStatus merkle_root(MerkleHash *hash, const MerkleTree *tree, unsigned char *root)
{
    unsigned char right[MERKLE_BYTES];
    MerkleStatus status;
    unsigned level = 0;

    if (tree->size == 0)
        return merkle_digest(hash, NULL, 0, root);
    level = (unsigned)__builtin_ctzll(tree->size);
    memcpy(right, tree->whole[level], MERKLE_BYTES);
    for (level++; level < MERKLE_DEEPEST && tree->size >> level != 0; level++)
        if (tree->size >> level & 1 && (status = merkle_node(hash, tree->whole[level], right, right)) != MERKLE_OK)
            return status;
    memcpy(root, right, MERKLE_BYTES);
    return MERKLE_OK;
}

MerkleStatus merkle_root_of_hashes(MerkleHash *hash, const unsigned char *leaves, uint64_t count, unsigned char *root)
{
    MerkleStatus status;
    MerkleTree tree;
    uint64_t i;

    merkle_begin(&tree);
    for (i = 0; i < count; i++)
        if ((status = merkle_append(hash, &tree, leaves + i * MERKLE_BYTES)) != MERKLE_OK)
            return status;
    return merkle_root(hash, &tree, root);
}

static size_t length_at(const unsigned char *packed)
{
    return (size_t)packed[0] << 24 | (size_t)packed[1] << 16 | (size_t)packed[2] << 8 | packed[3];
}

MerkleStatus merkle_root_of_records(MerkleHash *hash, const unsigned char *packed, size_t size, uint64_t count,
                                    unsigned char *root)
{
    unsigned char leaf[MERKLE_BYTES];
    MerkleStatus status;
    MerkleTree tree;
    size_t length;

    for (merkle_begin(&tree); tree.size < count; packed += length, size -= length) {
        if (size < LENGTH_BYTES || (length = length_at(packed)) > size - LENGTH_BYTES)
            return MERKLE_ILL_FORMED;
        packed += LENGTH_BYTES;
        size -= LENGTH_BYTES;
        if ((status = merkle_leaf(hash, packed, length, leaf)) != MERKLE_OK ||
            (status = merkle_append(hash, &tree, leaf)) != MERKLE_OK)
            return status;
    }
    return size == 0 ? merkle_root(hash, &tree, root) : MERKLE_ILL_FORMED;
}

/* --- proofs of inclusion -------------------------------------------------------------------------------------------------- */

/* The largest power of two below a size of at least two. */
static uint64_t split_of(uint64_t size) { return (uint64_t)1 << (63 - __builtin_clzll(size - 1)); }

static void turn_round(unsigned char *path, unsigned hashes)
{
    unsigned char held[MERKLE_BYTES];
    unsigned i;

    for (i = 0; i < hashes / 2; i++) {
        unsigned char *near = path + (size_t)i * MERKLE_BYTES, *far = path + (size_t)(hashes - 1 - i) * MERKLE_BYTES;
        memcpy(held, near, MERKLE_BYTES);
        memcpy(near, far, MERKLE_BYTES);
        memcpy(far, held, MERKLE_BYTES);
    }
}

MerkleStatus merkle_path(MerkleHash *hash, const unsigned char *leaves, uint64_t count, uint64_t index, unsigned char *path,
                         unsigned *hashes)
{
    unsigned depth = 0;

    if (index >= count)
        return MERKLE_NO_LEAF;
    for (; count > 1; depth++) { /* from the root down: the sibling is the half in which the leaf is not */
        uint64_t split = split_of(count);
        int is_left = index < split;
        const unsigned char *sibling = is_left ? leaves + split * MERKLE_BYTES : leaves;
        MerkleStatus status = merkle_root_of_hashes(hash, sibling, is_left ? count - split : split,
                                                    path + (size_t)depth * MERKLE_BYTES);
        if (status != MERKLE_OK)
            return status;
        leaves += is_left ? 0 : split * MERKLE_BYTES;
        index -= is_left ? 0 : split;
        count = is_left ? split : count - split;
    }
    turn_round(path, depth);
    *hashes = depth;
    return MERKLE_OK;
}

MerkleStatus merkle_check(MerkleHash *hash, const unsigned char *leaf, uint64_t index, uint64_t size, const unsigned char *path,
                          size_t hashes, const unsigned char *root, int *leads)
{
    unsigned char reached[MERKLE_BYTES];
    uint64_t last = size - 1; /* of this level, as `index` is */
    MerkleStatus status;

    *leads = 0;
    if (index >= size)
        return MERKLE_OK;
    memcpy(reached, leaf, MERKLE_BYTES);
    for (; hashes != 0; hashes--, path += MERKLE_BYTES, index >>= 1, last >>= 1) {
        int is_right = (index & 1) != 0 || index == last;
        if (last == 0)
            return MERKLE_OK;
        status = is_right ? merkle_node(hash, path, reached, reached) : merkle_node(hash, reached, path, reached);
        if (status != MERKLE_OK)
            return status;
        for (; is_right && index != 0 && (index & 1) == 0; index >>= 1) /* levels where it has no sibling */
            last >>= 1;
    }
    *leads = last == 0 && memcmp(reached, root, MERKLE_BYTES) == 0;
    return MERKLE_OK;
}
