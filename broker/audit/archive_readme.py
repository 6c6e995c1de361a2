"""What lies beside every archived segment: how a stranger verifies it. What must not go in here: code."""

README = """\
# An archived segment of an audit log

`*.audit` is the segment, `anchor.note` how its stream stood where it begins (the first segment of a stream has none),
`proof.json` that its last record is in the log, `checkpoint.vkey` the public key in the form of C2SP signed-note. Get that
key from elsewhere too, and compare: who changed this folder could have changed it as well.

All numbers are unsigned and big-endian, H is SHA-256 (1) or SM3 (2), || joins bytes.

1. The segment begins with 256 bytes: `BRAUDIT1`, u16 hash, u16 why it was begun, u32 0, and at 16 u64 each: its number,
   number of its first batch, sequence of its first record, wall clock (ns); at 48 boot id (16), at 64 the chain hash before
   (32), at 96 the stream's name (32), at 252 the CRC-32C of all before.
2. Batches follow. Each begins with 124 bytes: `BATC`, u32 bytes of records, u32 records, u32 flags (2: the last), and at 16
   u64 each: number, first sequence, wall clock, monotonic clock, snapshot; at 56 the chain hash before (32), at 88 the
   Merkle root (32), at 120 the CRC-32C of bytes 0 to 119 and the records. Each record stands behind its length (u32) and is
   a protobuf message `broker.v1.AuditRecord`.
3. The chain hash after a batch is H(0x02 || bytes 0 to 119 of its header). The first batch of a segment has
   H(0x03 || bytes 0 to 251 of the segment's header) before it, any other the chain hash after the one before. Numbers and
   sequences have no hole.
4. Trees are those of RFC 6962 section 2.1: leaf H(0x00 || data), node H(0x01 || left || right). The Merkle root of a batch
   is over
   its records.
5. `anchor.note` is signed with the key (Ed25519 over the text up to and with the newline before the empty line) and says
   how many
   batches and records were before, and the chain hash that stands at 64 of the segment.
6. `proof.json` leads from the last record to the root in its batch, from bytes 0 to 119 of the batch's header to the root
   in the `head` of the stream, and from the head to the root in the checkpoint (its third line), which is signed with the
   same key. The batch is the last of the segment, so its chain hash has all of the segment under it.
"""
