"""Compiles what is in force into a snapshot around a policy image, from scratch or from what has changed.

Packing one grant does not depend on any other, so packed grants are kept (held.py), and a change costs little more than putting
the pieces one behind the other again. What must not go in here: the layout of the image (image.py), where the values come from
(store.py), who swaps snapshots (`serve/`).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import struct
from array import array
from collections.abc import Iterator
from typing import Any

import msgspec

from broker._native.policy import Image, holding_slots, pair_slots, symbol_slots
from broker.errors import ConfigurationError
from broker.model.catalogue import Catalogue, Grant, Interface
from broker.model.snapshot import CURRENT, Snapshot, credentials_of, definitions_of
from broker.policy.directory import KINDS
from broker.policy.held import Held, Holdings
from broker.policy.hours import zone_offsets
from broker.policy.image import Symbols, assemble, pack_term
from broker.policy.store import NONE, Changes, Revision, encode

DEFAULT_TIME_ZONE = "Asia/Shanghai"
_GRANTS = "grants"
_SPARE_TEXTS = 10_000
_GRANT = msgspec.msgpack.Decoder(Grant)
_CREDENTIAL = struct.Struct("<16sII")
_VERSION = struct.Struct("<II16s")
_OFFSET = struct.Struct("<qq")

Versions = dict[str, list[Interface]]  # of an interface, by its id


class Compiler:
    """What is in force, packed and ready to be changed. Not for several threads at once."""

    def __init__(self, time_zone: str = DEFAULT_TIME_ZONE) -> None:
        self._time_zone = time_zone
        self._symbols = Symbols()
        self._values: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS if kind != _GRANTS}
        self._documents: dict[str, bytes] = {}  # of grants
        self._held = Holdings()
        self._definitions: dict[tuple[str, int], bytes] = {}
        self.revision = NONE
        self._texts_at_first = 0

    @property
    def wasteful(self) -> bool:
        """Whether most of the texts that it holds are of grants that have gone: beginning anew would be better."""
        return len(self._symbols) > 2 * self._texts_at_first + _SPARE_TEXTS

    def update(self, changes: Changes) -> tuple[bytes, Snapshot]:
        """Take in what has changed; return the image that is now in force and the snapshot around it.

        Raises:
            ConfigurationError: something in force is not of this version of the software. Nothing may be asked of the
                compiler after that.
        """
        try:
            with _without_garbage_collection():
                return self._update(changes)
        except (msgspec.MsgspecError, ValueError, KeyError, struct.error) as error:
            raise ConfigurationError(
                "control.url: holds values that this version refuses; apply the catalogue again"
            ) from error

    def _update(self, changes: Changes) -> tuple[bytes, Snapshot]:
        if changes.whole:
            self._forget()
        stale = self._take_in(changes)
        versions = self._versions()
        self._held.replace({grant: self._pack(self._documents.get(grant), versions) for grant in stale})
        self.revision = changes.revision
        self._texts_at_first = self._texts_at_first or len(self._symbols)
        self._definitions = self._definitions or definitions_of(self._values["interfaces"], self._values["providers"])
        image = self._image(versions)
        return image, Snapshot.of(Image(image), self._values, self._definitions)

    def _forget(self) -> None:
        for values in self._values.values():
            values.clear()
        self._documents.clear()
        self._held.clear()
        self._definitions = {}

    def _take_in(self, changes: Changes) -> set[str]:
        """Replace values; return the grants that have to be packed anew."""
        stale, touched = set(), set()
        removed = ((place, None) for place in changes.removed)
        for (kind, key), document in itertools.chain(changes.written.items(), removed):
            if kind == _GRANTS:
                stale.add(key)
                _replace(self._documents, key, document)
                continue
            if kind in ("interfaces", "providers"):
                self._definitions = {}
            if kind == "interfaces":
                touched.add(key.partition("@")[0])
            _replace(self._values[kind], key, document and msgspec.msgpack.decode(document, type=KINDS[kind]))
        if touched:
            self._symbols.forget_fields()
            stale |= self._grants_of(touched)
        return stale

    def _grants_of(self, interfaces: set[str]) -> set[str]:
        """Name the grants whose fields depend on these interfaces, and those that had no version to apply to."""
        return {key for key, held in self._held if not held.versions or held.versions[0][0] in interfaces}

    def _versions(self) -> Versions:
        found: Versions = {}
        for interface in sorted(self._values["interfaces"].values(), key=lambda i: (i.id, i.version)):
            found.setdefault(interface.id, []).append(interface)
        return found

    def _pack(self, document: bytes | None, versions: Versions) -> Held | None:
        if document is None:
            return None
        grant = _GRANT.decode(document)
        interfaces = versions.get(grant.interface, ())
        records = tuple([pack_term(grant, interface, self._symbols) for interface in interfaces])
        return Held(grant.consumer, tuple([(interface.id, interface.version) for interface in interfaces]), records)

    # --- the image ------------------------------------------------------------------------------------------------------

    def _image(self, versions: Versions) -> bytes:
        interfaces = [interface for of_one in versions.values() for interface in of_one]
        consumers = sorted(self._values["consumers"])
        numbers = {(interface.id, interface.version): number for number, interface in enumerate(interfaces)}
        credentials, slots = self._credentials(consumers)
        records = self._interface_records(interfaces)
        named, named_slots = self._named(versions, numbers)
        consumer_symbols = array("I", self._symbols.numbers(consumers))
        terms, holdings, holding_slots, refs = self._terms(consumers, numbers)
        texts = self._symbols.texts
        places = array("I", itertools.chain.from_iterable(_places(texts)))
        table = symbol_slots(texts)
        documents = self._catalogue_documents()
        offsets = b"".join(itertools.starmap(_OFFSET.pack, zone_offsets(self._time_zone)))
        text = b"".join(texts)
        return assemble(
            self.revision.version,
            (
                (text, len(text)),
                (places.tobytes(), len(texts)),
                (bytes(table), len(table) // 4),
                (credentials, slots),
                (consumer_symbols.tobytes(), len(consumers)),
                (records, len(interfaces)),
                (named, named_slots),
                (holdings, holding_slots),
                (refs, len(refs) // 4),
                (terms, len(terms)),
                (offsets, len(offsets) // _OFFSET.size),
                (documents, len(documents)),
            ),
        )

    def _credentials(self, consumers: list[str]) -> tuple[bytes, int]:
        """Lay out the table of consumers by credential. A credential is a hash already: its first bytes say where it stands."""
        found: dict[bytes, int] = {}
        for number, consumer in enumerate(consumers):
            found |= dict.fromkeys(credentials_of(self._values["consumers"][consumer]), number)
        slots = 4
        while slots < 2 * len(found):
            slots *= 2
        table = bytearray(slots * _CREDENTIAL.size)
        for credential, number in found.items():
            at = int.from_bytes(credential[:8], "little") % slots
            while _CREDENTIAL.unpack_from(table, at * _CREDENTIAL.size)[1]:
                at = (at + 1) % slots
            _CREDENTIAL.pack_into(table, at * _CREDENTIAL.size, credential, number + 1, 0)
        return bytes(table), slots

    def _interface_records(self, interfaces: list[Interface]) -> bytes:
        return b"".join(
            [_VERSION.pack(self._symbols.number(i.id), i.version, self._definitions[i.id, i.version]) for i in interfaces]
        )

    def _named(self, versions: Versions, numbers: dict[tuple[str, int], int]) -> tuple[bytes, int]:
        """Lay out the table of interface versions; the newest one also stands under CURRENT."""
        ones, others, values = array("I"), array("I"), array("I")
        for interface, of_one in versions.items():
            for version in (CURRENT, *(value.version for value in of_one)):
                ones.append(self._symbols.number(interface))
                others.append(version)
                values.extend((numbers[interface, version or of_one[-1].version] + 1, 0))
        table = pair_slots(ones, others, values)
        return bytes(table), len(table) // 16

    def _terms(self, consumers: list[str], interfaces: dict[tuple[str, int], int]) -> tuple[bytes, bytes, int, bytes]:
        """Put the records one behind the other in order of grant id, and note who holds which."""
        laid_out = self._held.laid_out(self._members(consumers), interfaces)
        table, refs = holding_slots(laid_out.consumers, laid_out.interfaces, laid_out.refs)
        return laid_out.records, bytes(table), len(table) // 16, bytes(refs)

    def _members(self, consumers: list[str]) -> dict[str, tuple[int, ...]]:
        """Return the numbers of the consumers behind every holder: itself, or the members of a group."""
        numbers = {consumer: number for number, consumer in enumerate(consumers)}
        members: dict[str, tuple[int, ...]] = {consumer: (number,) for consumer, number in numbers.items()}
        for group in self._values["groups"].values():
            members[group.id] = tuple(sorted({numbers[member] for member in group.members if member in numbers}))
        return members

    def _catalogue_documents(self) -> bytes:
        return msgspec.msgpack.encode({kind: list(values.values()) for kind, values in self._values.items()})


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Many values are made here and all of them stay: looking through them again and again for garbage doubles the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _replace(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _places(texts: list[bytes]) -> Iterator[tuple[int, int]]:
    sizes = [len(text) for text in texts]
    return zip(itertools.accumulate(sizes, initial=0), sizes, strict=False)  # behind the last there is none


def compile_snapshot(catalogue: Catalogue, version: int, time_zone: str = DEFAULT_TIME_ZONE) -> Snapshot:
    """Compile a valid catalogue (see validate.py) from scratch."""
    return Compiler(time_zone).update(Changes(Revision(version, ""), encode(catalogue)))[1]


EMPTY = compile_snapshot(Catalogue(), 0)
