"""Audit records as protobuf writes them, and the writer of one stream (ext/journal_*). The format is docs/audit-format.md.

A writer has a thread of its own, which takes what was appended, at most 1,024 records at a time, writes and syncs it once, and
rings `event`. A record is durable once `durable` is beyond its sequence; before that, nothing that it tells of may leave.
After an error of the disk `state` is FAILED, `append` raises Unavailable, and whoever waits for a record that is not durable
has to be told so; it stays queued and is written once a new segment can be begun, which is tried four times a second.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypedDict, Unpack, final

OPEN: int  # states
FAILED: int
ENDED: int
GOES_ON: int  # what comes after a record
CLOSES_SEGMENT: int
CLOSES_STREAM: int

class Full(Exception):
    """65,536 records, or 64 MiB, are waiting to be written."""

class Unavailable(Exception):
    """The log cannot be written now, or is closed."""

Text = str | bytes

class Fields(TypedDict, total=False):
    """The fields of a record, as in `broker.v1.AuditRecord`. What is left out is the field's default; the times are now."""

    wall_ns: int  # field `at`
    mono_ns: int
    kind: int
    consumer: Text
    operator: Text
    device: Text
    interface: Text
    version: int
    purpose: Text
    matter: Text
    case_id: Text
    request_id: Text
    grant: Text
    grant_version: int
    snapshot_version: int
    fields: Iterable[Text]
    outcome: Text
    code: Text
    source: Text
    plane: Text
    took_us: int
    provider_us: int
    request_digest: bytes
    answer_digest: bytes
    subject: bytes
    intent: Text
    embargo: Text
    method: Text
    target: Text
    count: int
    change: int

class Facts(TypedDict):
    """What a writer tells of itself; counts are since it was made, but those of records, which are since the stream began."""

    state: int
    error: int  # errno of the last failure
    appended: int  # records
    durable: int
    undecided: int  # records from `durable` on below this were not durable at the last failure
    failures: int
    batches: int
    segments: int
    bytes: int
    sync_ns: int  # taken by all fdatasync
    last_sync_ns: int
    segment: int  # number of the one that is written
    segment_bytes: int
    queued: int  # records
    queued_bytes: int

class Progress(NamedTuple):
    """What a writer tells of each batch."""

    is_open: bool  # records are taken
    durable: int  # records of the stream
    undecided: int  # records from `durable` on below this were not durable at the last failure
    failures: int  # since it was made

def encode(**fields: Unpack[Fields]) -> bytes:
    """Return a record as it is hashed and kept, at most 65,536 bytes.

    Texts are cut at 1,024 bytes, names of fields at 32 KiB in all, digests at 64 bytes; what is not UTF-8 becomes "?". The
    record says so in its field `altered`. Raises TypeError for what is no field or no text, OverflowError for a number that is
    no number.
    """

@final
class Writer:
    """The only writer of a stream, begun on a segment of its own; who makes it holds the lock of the stream's folder."""

    def __init__(
        self,
        directory: int,  # a descriptor of the stream's folder, open for as long as this is
        stream: str,
        *,
        algorithm: int,  # as in broker._native.merkle
        boot: bytes,  # 16 bytes
        key: bytes,  # identifier of the key of subjects, 16 bytes
        why: int,
        numbers: tuple[int, int, int],  # of the segment, its first batch and its first record
        chain: bytes,
        tree: tuple[int, bytes],  # batches before, and the roots of their whole subtrees, largest first
        valid: int = 0,
        left: int = 0,
        wall_ns: int = 0,  # of the last batch before
        segment_bytes: int = ...,
        step_bytes: int = ...,
        linger_us: int = ...,
        retry_ms: int = ...,
    ) -> None:
        """Begin a segment; that it cannot be made is the state FAILED. Raises ValueError, and OSError without a thread."""

    @property
    def event(self) -> int:
        """An eventfd that is rung once a batch, and when the state changes; -1 when closed."""

    @property
    def durable(self) -> int:
        """How many records of the stream are durable."""

    @property
    def state(self) -> int:
        """OPEN, FAILED or ENDED."""

    def append(self, record: bytes, after: int = 0) -> int:
        """Queue a record; returns its sequence. Raises Full, Unavailable, ValueError for one of no byte or more than 65,536."""

    def set_snapshot(self, version: int) -> None:
        """Say which policy snapshot is in force; it is told with each batch."""

    def progress(self) -> Progress:
        """Return how far it has come."""

    def facts(self) -> Facts:
        """Return what there is to tell."""

    def head(self) -> tuple[int, int, bytes, bytes]:
        """Return what a checkpoint says of the stream: durable records and batches, chain hash, root of the stream tree."""

    def close(self) -> None:
        """Write what is queued and a last record, TOLD, that closes the segment; end the thread. Waits for the disk."""
