"""Witnesses of checkpoints: files and HTTP endpoints that keep them, and delay nobody. What must not go in here: signing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from broker.audit.notes import Keys, Verifier
from broker.audit.verify import verify
from broker.audit.witnesses import OVERDUE_S, FileWitness, HttpWitness, Watched, WitnessUnreachable, held_by
from tests.support.audit_log import small_log

# --- witnesses -----------------------------------------------------------------------------------------------------------


async def test_a_file_keeps_what_it_is_given(tmp_path: Path) -> None:
    log = small_log(tmp_path / "audit")
    witness = FileWitness(tmp_path / "witness.notes")
    assert await witness.held() == ""
    for note in log.notes:
        await witness.give(note)
    assert await held_by([witness, FileWitness(tmp_path)]) == {witness.name: log.notes[-1]}
    keys = Keys([Verifier.parse(log.signer.vkey)])
    assert verify(log.directory, keys, witnesses=[(tmp_path / "witness.notes").read_bytes()]).faults == []
    with pytest.raises(WitnessUnreachable):
        await FileWitness(tmp_path / "none" / "x").give("note")


async def test_a_file_is_read_from_its_end_and_what_a_power_cut_left_there_goes(tmp_path: Path) -> None:
    log = small_log(tmp_path / "audit")
    first, *_, last = log.notes
    file = tmp_path / "witness.notes"
    years = "---\n".join([first] * ((5 << 18) // len(first.encode())))
    for torn in range(1, len(("---\n" + last).encode()), 31):
        file.write_bytes(years.encode() + ("---\n" + last).encode()[:torn])
        assert await FileWitness(file).held() == first
        if torn % 5 == 0:
            await FileWitness(file).give(last)
            assert file.read_text() == f"{years}---\n{last}"


@pytest.mark.parametrize("held", [b"not a note", b"\xff" * 3_000_000, b"---\n", b"a\n\nb\n---\nc"])
async def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "witness.notes"
    file.write_bytes(held)
    with pytest.raises(WitnessUnreachable):
        await FileWitness(file).held()
    with pytest.raises(WitnessUnreachable):
        await FileWitness(file).give(small_log(tmp_path / "audit").notes[0])
    assert file.read_bytes() == held


async def test_an_endpoint_takes_notes_by_post(tmp_path: Path) -> None:
    kept: list[str] = []

    async def take(request: web.Request) -> web.Response:
        kept.append(await request.text())
        return web.Response(status=200 if len(kept) > 1 else 503)

    async def tell(_: web.Request) -> web.Response:
        return web.Response(text=kept[-1]) if kept else web.Response(status=404)

    app = web.Application()
    app.add_routes([web.post("/notes", take), web.get("/notes", tell)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    notes = small_log(tmp_path / "audit").notes
    async with aiohttp.ClientSession() as session:
        witness = HttpWitness(f"http://us:secret@127.0.0.1:{port}/notes?token=secret", session)
        assert (witness.name, await witness.held()) == (f"http://127.0.0.1:{port}/notes", "")
        watched = Watched(witness, again_s=0.001)
        running = asyncio.create_task(watched.run())
        watched.offer(notes[0])
        async with asyncio.timeout(20):
            while watched.behind_s:  # noqa: ASYNC110 - what is tested has no event for it
                await asyncio.sleep(0.001)
        running.cancel()
        assert kept == [notes[0], notes[0]]  # refused once, and given again
        assert await witness.held() == notes[0]
        kept.append("<p>There is maintenance.</p>")
        assert await held_by([witness]) == {}
        await runner.cleanup()
        with pytest.raises(WitnessUnreachable):
            await witness.give("two")


async def test_a_witness_that_hangs_delays_nobody_and_is_told_of() -> None:
    class Hanging:
        name = "hanging"

        async def give(self, note: str) -> None:
            raise WitnessUnreachable(note)

        async def held(self) -> str:
            return ""

    now = [0.0]
    watched = Watched(Hanging(), again_s=0, clock=lambda: now[0])
    running = asyncio.create_task(watched.run())
    for number in range(5000):
        watched.offer(f"{number}")
    now[0] = OVERDUE_S - 1
    assert not watched.is_overdue
    now[0] = OVERDUE_S
    await asyncio.sleep(0.01)
    assert watched.is_overdue
    assert len(watched._waiting) == 4096
    running.cancel()
