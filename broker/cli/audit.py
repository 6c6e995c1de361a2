"""`broker audit`: verify the audit log, prove records of it, look who asked about somebody, archive and export it.

Operators' commands: they read the log's directory themselves and need no running broker; who may read the files may use
them. What a subject is called is read from standard input, never from an argument, which every user of the machine can see.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import getpass
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from broker.audit import archive, checkpoints, export, notes, proofs
from broker.audit.anchors import anchored_walk
from broker.audit.layout import VERIFIER_FILE, algorithm_of, segments_of, streams_of
from broker.audit.notes import Keys, NoteRefused, Verifier
from broker.audit.records import RecordId
from broker.audit.signer import RESUME, open_key
from broker.audit.subject import open_subject_key
from broker.audit.tail import Place, open_tail
from broker.audit.usage import Page, Release, UsageIndex, filling, rebuild
from broker.audit.verify import Report, verify
from broker.audit.witnesses import name_of
from broker.cli.output import ConfigFile, Json, emit, fail, load_config, say, table
from broker.cli.progress import bars
from broker.config import Config
from broker.errors import AuditRefused, BaseBusy, ConfigurationError, DirectoryUnusable, InvalidRequest
from broker.model.catalogue import SemanticType
from broker.model.semantics import NotCanonical, canonical
from broker.serve.witnessing import held_elsewhere

app = typer.Typer(
    help="The audit log: verify, prove, usage, export, archive. Reads its directory itself.", no_args_is_help=True
)

_DAY_S = 86_400

Key = Annotated[
    list[str] | None,
    typer.Option("--key", help="Verifier key (C2SP) that is trusted, or a file with one; without, the one beside the log."),
]
Moment = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="In UTC.")]


@app.command("verify")
def verify_(
    key: Key = None,
    witness: Annotated[list[Path] | None, typer.Option("--witness", help="File of notes that a witness keeps.")] = None,
    archives: Annotated[bool, typer.Option("--archives", help="Verify what was archived too.")] = False,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Check every stream against itself, its checkpoints and witnesses; name the first bad batch, with exit code 19."""
    config = load_config(file)
    directory, keys = _directory(config), _keys(config, key)
    held, missed = _witnessed(config, witness or ())
    with _progress("verifying", _bytes_of(directory)) as done:
        report = verify(directory, keys, origin=config.audit.origin, witnesses=held, done=done)
    bad = [str(fault) for fault in report.faults]
    count = 0
    for folder in _archived(config) if archives else ():
        count += 1
        with _told(bad):
            archive.verify_archive(folder, keys, config.audit.origin)
    if json:
        emit({"ok": not bad, "faults": bad, "archives": count, **_facts(report), "witnesses_missed": missed})
    else:
        _show(report, count, missed)
    if bad:
        fail(AuditRefused("the audit log is not as it must be"), bad)


@app.command()
def prove(
    record: Annotated[str, typer.Argument(help="Identifier of a record, such as front-0.48211.")] = "",
    into: Annotated[Path | None, typer.Option("--into", help="Write the proof to this file (JSON).")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Check the proof in this file; needs the public key alone.")
    ] = None,
    key: Key = None,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Prove that a record is in the log, or check such a proof offline."""
    if bool(record) == bool(check):
        raise typer.BadParameter("name a record, or --check a file")
    config = load_config(file)
    keys = _keys(config, key)
    if check:
        proof = proofs.Proof.from_json(_read(check).decode("utf-8", "replace"))
    else:
        proof = _proved(config, RecordId.parse(record), keys)
    proof.check(keys, config.audit.origin)
    if into:
        _write(into, proof.to_json())
    if json:
        emit({"record": str(proof.id), "ok": True, "proof": str(into or check or "")})
    elif into or check:
        say(f"{proof.id}: is in the log; proof in {into or check}")
    else:
        sys.stdout.write(proof.to_json())


@app.command()
def usage(
    subject: Annotated[bool, typer.Option("--subject", help="Read the subject's identifier from standard input.")] = False,
    kind: Annotated[SemanticType, typer.Option("--type", help="What kind of identifier that is.")] = SemanticType.RESIDENT_ID,
    since: Moment = None,
    until: Moment = None,
    page_size: Annotated[int, typer.Option("--page-size", min=1, max=1000)] = 50,
    page_token: Annotated[str, typer.Option("--page-token", help="Of the page before.")] = "",
    rebuild_: Annotated[bool, typer.Option("--rebuild", help="Make the index anew first.")] = False,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Tell who asked about a subject, newest first, without what is under an embargo. Looking here leaves no record."""
    if not subject and not rebuild_:
        raise typer.BadParameter("--subject reads an identifier from standard input; --rebuild makes the index anew")
    config = load_config(file)
    directory = _directory(config)
    _fill(config, directory, anew=rebuild_)
    if not subject:
        return
    hashed = open_subject_key(config.path(config.audit.subject_key_file)).subject(_identifier(kind))
    index = UsageIndex(directory, config.path(config.audit.archive_dir), readonly=True)
    try:
        releases = {name: Release(after_s=days * _DAY_S) for name, days in config.audit.embargo_days.items()}
        first, end = _ns(since, 0), _ns(until, time.time_ns())
        page = index.find(hashed, from_ns=first, until_ns=end, page_size=page_size, token=page_token, releases=releases)
    except InvalidRequest as error:
        raise typer.BadParameter(str(error)) from None
    finally:
        index.close()
    _show_usage(page, json)


@app.command("export")
def export_(
    into: Annotated[Path, typer.Option("--into", help="File to write, JSON lines; - for standard output.")],
    stream: Annotated[list[str] | None, typer.Option("--stream", help="Only this one.")] = None,
    since: Moment = None,
    until: Moment = None,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Write records as JSON lines, stream by stream; those that are archived are not among them."""
    directory = _directory(load_config(file))
    period = {"from_ns": _ns(since, 0), "until_ns": _ns(until, time.time_ns())}
    folders = [folder for name, folder in streams_of(directory).items() if not stream or name in stream]
    count = 0
    try:
        with _writing(into) as out, _progress("exporting", 0) as done:
            for folder in folders:
                for line in export.lines(folder, **period):
                    out.write(line)
                    count += 1
                    done(1)
    except (OSError, ValueError) as error:
        raise DirectoryUnusable(f"the log cannot be exported ({error})") from error
    if into != Path("-"):
        emit({"records": count, "file": str(into)}) if json else say(f"{count} records written to {into}")


@app.command("archive")
def archive_(
    before: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="What was closed before this day (UTC).")],
    expire: Annotated[bool, typer.Option("--expire", help="Remove what audit.retention_days is over for.")] = False,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Move closed segments to audit.archive_dir: copied, proved, read back, and only then removed from the log."""
    config = load_config(file)
    directory, archives = _directory(config), config.path(config.audit.archive_dir)
    signer = open_key(directory, config.audit.origin)
    archiver = archive.Archiver(directory, archives, signer, config.audit.origin)
    closed = archiver.closed(_ns(before, 0))
    with _progress("archiving", len(closed)) as done:
        made = [(archiver.archive(*one), done(1))[0] for one in closed]
    removed = []
    if expire:
        keys = Keys([signer.verifier])
        removed = list(archive.expire(archives, config.audit.retention_days, time.time_ns(), keys, lambda _: None))
    if json:
        emit({"archived": [_archived_fact(one) for one in made], "removed": [_archived_fact(one) for one in removed]})
        return
    for what, told in (("archived", made), ("removed", removed)):
        for one in told:
            say(f"{what}: {one.stream}, segment {one.segment}: {one.records} records in {one.folder}")
    say(f"{len(made)} segments archived, {len(removed)} removed")


@app.command()
def checkpoint(key: Key = None, file: ConfigFile = None, json: Json = False) -> None:
    """Print the newest checkpoint, whose signature was checked."""
    config = load_config(file)
    directory = _directory(config)
    try:
        found = checkpoints.newest(directory, _keys(config, key), algorithm_of(directory), config.audit.origin)
    except NoteRefused as error:
        raise AuditRefused(f"the newest checkpoint does not hold: {error}") from error
    if found is None:
        raise AuditRefused("no checkpoint was signed yet")
    if json:
        heads = [{"stream": head.stream, "records": head.records, "batches": head.batches} for head in found[0].heads]
        emit({"serial": found[0].serial, "time_ms": found[0].time_ms, "streams": heads, "note": found[1]})
    else:
        sys.stdout.write(found[1])


# --- what the commands share --------------------------------------------------------------------------------------------


def _directory(config: Config) -> Path:
    directory = config.path(config.audit.directory)
    if not directory.is_dir():
        raise DirectoryUnusable(f"{directory}: there is no audit log")
    return directory


def _keys(config: Config, given: list[str] | None) -> Keys:
    """Return the keys that are trusted: those that are named, else the one that lies beside the log."""
    named = given or [str(config.path(config.audit.directory) / VERIFIER_FILE)]
    texts = [text if "+" in text else _read(Path(text)).decode("utf-8", "replace") for text in named]
    return Keys(Verifier.parse(line) for text in texts for line in text.splitlines() if line.strip())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be read ({error.strerror})") from error


def _writing(into: Path) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if into == Path("-") else into.open("w", encoding="utf-8")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be written ({error.strerror})") from error


def _witnessed(config: Config, files: Sequence[Path]) -> tuple[list[bytes], list[str]]:
    """Return what witnesses hold, all of it where it is a file, and the names of those in the settings that told nothing."""
    asked = asyncio.run(held_elsewhere(config))
    held, missed = [_read(file) for file in files], []
    for file in map(config.path, config.audit.witness_files):
        if asked.pop(str(file), ""):
            held.append(notes.whole(_read(file))[0])  # it may be written right now
        else:
            missed.append(str(file))
    known = {name_of(url) for url in config.audit.witness_urls}
    missed += sorted(name for name in known if not asked.get(name))
    return [*held, *(note.encode() for note in asked.values() if note)], missed


def _bytes_of(directory: Path) -> int:
    return sum(file.stat().st_size for folder in streams_of(directory).values() for file in segments_of(folder).values())


def _archived(config: Config) -> list[Path]:
    found = archive.archived(config.path(config.audit.archive_dir))
    return [folder for folders in found.values() for folder in folders.values()]


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    with bars() as shown:
        task = shown.add_task(what, total=total or None)
        yield functools.partial(shown.advance, task)


@contextmanager
def _told(bad: list[str]) -> Iterator[None]:
    """Gather what is wrong instead of ending with it."""
    try:
        yield
    except (AuditRefused, OSError) as error:
        bad.append(str(error))


def _facts(report: Report) -> dict[str, Any]:
    streams = [{name: getattr(facts, name) for name in facts.__dataclass_fields__} for facts in report.streams]
    return {
        "streams": streams,
        "checkpoints": report.checkpoints,
        "newest_serial": report.newest_serial,
        "witnessed_serial": report.witnessed_serial,
    }


def _show(report: Report, archives: int, missed: Sequence[str]) -> None:
    names = ("stream", "first_segment", "segments", "batches", "records", "covered", "cut_bytes", "unfinished_bytes")
    table(names, [[str(getattr(facts, name)) for name in names] for facts in report.streams], title="streams")
    witnessed = f", witnessed up to {report.witnessed_serial}" if report.witnessed_serial else ", no witness"
    say(f"{report.checkpoints} checkpoints, the newest is {report.newest_serial}{witnessed}; {archives} archives verified")
    for name in missed:
        say(f"not compared with witness {name}, which tells of no checkpoint")
    if not report.faults:
        say("the audit log is as it was written")


def _proved(config: Config, record: RecordId, keys: Keys) -> proofs.Proof:
    with suppress(AuditRefused):
        return proofs.prove(_directory(config), record, keys, config.audit.origin)
    with suppress(AuditRefused):
        return archive.prove_archived(config.path(config.audit.archive_dir), record, keys, config.audit.origin)
    return proofs.prove(_directory(config), record, keys, config.audit.origin)  # for what it has to say


def _identifier(kind: SemanticType) -> str:
    """Read the identifier of a subject; from a terminal without showing it."""
    text = getpass.getpass("Identifier of the subject: ") if sys.stdin.isatty() else sys.stdin.readline()
    try:
        return canonical(kind, text.strip())
    except NotCanonical:
        raise ConfigurationError(f"standard input: is no {kind.value}") from None


def _certain(directory: Path, keys: Keys, origin: str) -> dict[str, Place]:
    """Return up to where each stream is certain: what a checkpoint has is, and what another batch or segment follows."""
    algorithm, places = algorithm_of(directory), {}
    newest = checkpoints.newest(directory, keys, algorithm, origin)
    heads = newest[0].by_stream if newest else {}
    for name, folder in streams_of(directory).items():
        tail = open_tail(folder, algorithm, directory / RESUME / f"{name}.json", anchored_walk(folder, algorithm, keys))
        try:
            tail.follow(heads[name].batches if name in heads else 0)
        finally:
            tail.close()
        places[name] = tail.place
    return places


def _fill(config: Config, directory: Path, *, anew: bool) -> None:
    """Read the log on into the index, unless the broker does."""
    with _progress("indexing", 0) as done:
        try:
            with filling(directory):
                _fill_alone(directory, _certain(directory, _keys(config, None), config.audit.origin), done, anew=anew)
        except BaseBusy:
            if anew:
                raise
        except (NoteRefused, OSError, ValueError) as error:
            raise DirectoryUnusable(f"the log cannot be indexed ({error})") from error


def _fill_alone(directory: Path, places: dict[str, Place], done: Callable[[int], object], *, anew: bool) -> None:
    if anew:
        rebuild(directory, places, done)
        return
    index = UsageIndex(directory)
    try:
        index.fill(places, done)
    finally:
        index.close()


def _ns(moment: dt.datetime | None, default: int) -> int:
    return int(moment.replace(tzinfo=dt.UTC).timestamp() * 1_000_000_000) if moment else default


def _archived_fact(one: archive.Archived) -> dict[str, Any]:
    return {**one._asdict(), "folder": str(one.folder)}


def _show_usage(page: Page, json: bool) -> None:
    told = [export.as_json(record) for record in page.found]
    if json:
        emit({"records": told, "next_page_token": page.next_token, "total_size": page.total})
        return
    names = ("at", "consumer", "operator", "interface", "purpose", "case_id", "fields", "outcome", "audit_id")
    table(names, [[_cell(one.get(name, "")) for name in names] for one in told], whole=("at",))
    more = f"; the next page: --page-token {page.next_token}" if page.next_token else ""
    say(f"{len(told)} of {page.total} accesses{more}")


def _cell(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return export.line({"": text})[5:-3].replace("[", "\\[")  # as JSON escapes it: a terminal obeys control characters
