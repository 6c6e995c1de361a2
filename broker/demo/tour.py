"""The guided tour: the broker's main job, step by step, through the real client against real servers.

A step is one function that does what its title says, measures it, and fails (`Broken`) if anything is not as it says. No number
is written here; all are measured. What must not go in here: starting things (launch.py) and printing (cli/demo.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from broker.client import Answer, AsyncClient, CallFailed, NotGranted, OverRate
from broker.demo.city import absent_resident_id, sample_residents
from broker.demo.interfaces import QUESTIONS, sample_arguments
from broker.demo.launch import Demo
from broker.demo.register import PURPOSE as SEARCH_PURPOSE
from broker.demo.register import REGISTER, residents
from broker.demo.step import Broken, Step, Visitor
from broker.demo.step import check as _check
from broker.demo.tour_audit import PROOF_OF_ACCESS
from broker.demo.tour_catalogue import mount_report
from broker.demo.tour_grants import LIFE_OF_A_GRANT

BASIC = "national.person.basic"
FUND = "provincial.housing.fund"
HERD = 1000
HOT_CALLS = 300


class Timed(NamedTuple):
    """An answer and how long the consumer waited for it."""

    answer: Answer
    ms: float

    def step(self, title: str, *notes: str) -> Step:
        """Tell it as a step."""
        provenance = self.answer.provenance
        outcome = "FOUND" if self.answer.found else "NOT_FOUND"
        source = f"CACHE, STALE {provenance.age_s:.1f} s" if provenance.stale else provenance.source
        return Step(title=title, result=outcome, source=source, time_ms=self.ms, notes=notes)


async def _ask(client: AsyncClient, interface: str, arguments: Mapping[str, str], purpose: str) -> Timed:
    began = time.perf_counter()
    answer = await client.call(interface, arguments, purpose=purpose)
    return Timed(answer, (time.perf_counter() - began) * 1000)


async def first_call(visitor: Visitor) -> Step:
    """A question that nobody has asked goes to the provider."""
    who = visitor.people[0]
    async with visitor.client("civil-affairs") as client:
        first = await _ask(client, BASIC, {"resident_id": who["resident_id"]}, "subsidy-check")
    _check(first.answer.provenance.source == "UPSTREAM", "the first answer must come from the provider")
    _check(first.answer.fields["name"] == who["name"], "the answer must be about the person asked")
    return first.step(f"civil-affairs asks {BASIC}", f"fields {', '.join(sorted(first.answer.fields))}")


async def same_again(visitor: Visitor) -> Step:
    """The same question again is answered from the cache."""
    arguments = {"resident_id": visitor.people[0]["resident_id"]}
    async with visitor.client("civil-affairs") as client:
        await _ask(client, BASIC, arguments, "subsidy-check")
        hot = [await _ask(client, BASIC, arguments, "subsidy-check") for _ in range(HOT_CALLS)]
    _check(all(one.answer.provenance.source == "CACHE" for one in hot), "every repeated answer must come from the cache")
    median = Timed(hot[-1].answer, statistics.median(one.ms for one in hot))
    return median.step("the same again", f"median of {HOT_CALLS} one after another, the client's own time included")


async def other_spelling(visitor: Visitor) -> Step:
    """Full-width digits and a blank are the same question."""
    wide = "".join(chr(ord(char) + 0xFEE0) for char in visitor.people[0]["resident_id"])
    async with visitor.client("civil-affairs") as client:
        same = await _ask(client, BASIC, {"resident_id": f" {wide}"}, "subsidy-check")
    _check(same.answer.provenance.source == "CACHE", "another spelling of the same question must be the same question")
    return same.step("the same in full-width digits, with a blank")


async def a_verdict(visitor: Visitor) -> Step:
    """Whether what an applicant says is true, without showing what is held."""
    who = next(one for one in visitor.people if len(set(one["name"])) == len(one["name"]) == 3)
    surname, first, second = who["name"]
    said = {"right": who["name"], "turned round": surname + second + first, "somebody else's": "欧阳" + first}
    async with visitor.client("civil-affairs") as client:
        await _ask(client, BASIC, {"resident_id": who["resident_id"]}, "subsidy-check")
        began = time.perf_counter()
        found = [
            await client.match(BASIC, {"resident_id": who["resident_id"]}, {"name": name}, purpose="subsidy-check")
            for name in said.values()
        ]
        took_ms = (time.perf_counter() - began) * 1000 / len(said)
    verdicts = [matched.overall for matched in found]
    _check(verdicts == ["MATCH", "CLOSE", "MISMATCH"], "a right name, a near one and another must be told apart")
    notes = ", ".join(f"{how}: {verdict}" for how, verdict in zip(said, verdicts, strict=True))
    return Step(title="civil-affairs compares a name", result="MATCH", source="CACHE", time_ms=took_ms, notes=(notes,))


async def a_search(visitor: Visitor) -> Step:
    """Who is meant, by a wrong id and by a misspelt name: the broker's own register is searched."""
    who = next(one for one in residents(visitor.demo.city) if len(set(one["name"])) == len(one["name"]) == 3)
    name, number, birth = who["name"], who["resident_id"], who["birth_date"]
    known = {
        "two digits of the id swapped": {"resident_id": _swapped(number), "name": name},
        "name turned round, with the birth date": {"name": name[0] + name[2] + name[1], "birth_date": birth},
    }
    async with visitor.client("civil-affairs") as client:
        await client.search(REGISTER, {"resident_id": number}, purpose=SEARCH_PURPOSE)
        began = time.perf_counter()
        found = [await client.search(REGISTER, one, purpose=SEARCH_PURPOSE) for one in known.values()]
        took_ms = (time.perf_counter() - began) * 1000 / len(known)
    best = [one.candidates[0] for one in found if one.candidates]
    _check([one.fields["resident_id"] for one in best] == [number] * len(known), "who is meant must be found first")
    notes = ", ".join(f"{how}: {one.decision} ({one.probability:.4f})" for how, one in zip(known, best, strict=True))
    title, result = "civil-affairs looks for a person", best[0].decision
    return Step(title=title, result=result, source="RECORDS", time_ms=took_ms, notes=(notes,))


def _swapped(number: str) -> str:
    """Swap the first two neighbours of the serial number or the day that differ."""
    at = next(at for at in (15, 14, 13, 12, 11, 10) if number[at] != number[at + 1])
    return number[:at] + number[at + 1] + number[at] + number[at + 2 :]


async def linking(visitor: Visitor) -> Step:
    """Two tables that have no key in common are linked."""
    from broker.demo.tour_linking import two_tables  # noqa: PLC0415 - columns of NumPy and Arrow, which no other step needs

    return await two_tables(visitor)


async def not_found(visitor: Visitor) -> Step:
    """No record is an answer."""
    async with visitor.client("civil-affairs") as client:
        nobody = await _ask(client, BASIC, {"resident_id": absent_resident_id()}, "subsidy-check")
    _check(not nobody.answer.found, "an id that nobody has must not be found")
    return nobody.step("no such person", "an answer, not an error")


async def wrong_argument(visitor: Visitor) -> Step:
    """An ill-formed argument is refused before anybody is asked."""
    typo = visitor.people[0]["resident_id"][:-1] + "?"
    async with visitor.client("civil-affairs") as client:
        refusal = await _refused(client, BASIC, {"resident_id": typo}, "subsidy-check")
    _check(refusal.code.name == "INVALID_ARGUMENT", "an ill-formed id must be refused")
    field, rule = next(iter(refusal.violations.items()))
    return Step(title="ill-formed argument", result=refusal.code.name, notes=(f"{field}: {rule}",))


async def _refused(client: AsyncClient, interface: str, arguments: Mapping[str, str], purpose: str) -> CallFailed:
    try:
        await client.call(interface, arguments, purpose=purpose)
    except CallFailed as failure:
        return failure
    raise Broken("the call should have been refused")


async def no_grant(visitor: Visitor) -> Step:
    """Without a grant nothing is answered; the command that would change that is shown."""
    async with visitor.client("housing-bureau") as client:
        arguments = {"resident_id": visitor.people[0]["resident_id"]}
        refusal = await _refused(client, BASIC, arguments, "housing-transaction")
    _check(isinstance(refusal, NotGranted), "a call without a grant must be refused")
    return Step(
        title=f"housing-bureau asks {BASIC}",
        result=f"{refusal.code.name}",
        notes=("fix: " + shlex.join(_fix(visitor.demo)),),
    )


def _fix(demo: Demo) -> list[str]:
    terms = ["--consumer", "housing-bureau", "--interface", BASIC, "--purpose", "housing-transaction"]
    where = ["broker", "grant", "add", _short(demo.catalogue), "--config", _short(demo.config_file)]
    program = Path(sys.argv[0])
    where[0] = _short(program) if program.name == "broker" else where[0]
    return [*where, *terms, "--field", "name", "--field", "status", "--until", "2030-01-01"]


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


async def the_fix_works(visitor: Visitor) -> Step:
    """The command just shown, run as shown."""
    command = [sys.executable, "-m", "broker.cli.main", *_fix(visitor.demo)[1:]]
    arguments = {"resident_id": visitor.people[0]["resident_id"]}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    _check(await process.wait() == 0, "the command that was shown must work")
    began = time.perf_counter()
    async with visitor.client("housing-bureau") as client:
        while True:
            with contextlib.suppress(NotGranted):
                answer = (await _ask(client, BASIC, arguments, "housing-transaction")).answer
                break
            _check(time.perf_counter() - began < 2, "a new grant must be in force within two seconds")
            await asyncio.sleep(0.01)
    waited_ms = (time.perf_counter() - began) * 1000
    _check(set(answer.fields) == {"name", "status"}, "only the granted fields may be answered")
    return Timed(answer, waited_ms).step("that command was run", "time from its end to the first answer")


async def masked(visitor: Visitor) -> Step:
    """A second consumer sees only the fields of its grant, cached or not."""
    arguments = {"resident_id": visitor.people[0]["resident_id"]}
    async with visitor.client("notary-office") as client:
        answers = [await _ask(client, BASIC, arguments, "notarisation") for _ in range(2)]
    _check(all(set(one.answer.fields) == {"name", "status"} for one in answers), "a notary must see name and status only")
    return answers[1].step(
        "notary-office asks the same", "its grant shows name and status; what others were granted it never sees"
    )


async def over_rate(visitor: Visitor) -> Step:
    """Beyond the grant's rate calls are refused, and told when to come again."""
    questions = [{"resident_id": person["resident_id"]} for person in visitor.people[1:26]]
    async with visitor.client("citizen-app") as client:
        interface, purpose = "provincial.medical.insurance", "citizen-request"
        results = await asyncio.gather(
            *(client.call(interface, question, purpose=purpose) for question in questions), return_exceptions=True
        )
    refused = [result for result in results if isinstance(result, OverRate)]
    answered = [result for result in results if isinstance(result, Answer)]
    _check(len(refused) + len(answered) == len(questions), "a call is answered or refused for the rate")
    _check(bool(refused) and len(answered) >= 5, "the burst is answered and the rest refused")
    wait = max(one.retry_after_s or 0 for one in refused)
    return Step(
        title=f"citizen-app asks {len(questions)} times at once",
        result=f"{len(answered)} OK, {len(refused)} over rate",
        notes=(f"RESOURCE_EXHAUSTED, retry in {wait:.2f} s",),
    )


async def stale(visitor: Visitor) -> Step:
    """A provider that is down does not take down what depends on it."""
    arguments = sample_arguments(visitor.demo.city, FUND, 1)[0]
    async with visitor.client("civil-affairs") as client:
        fresh = (await _ask(client, FUND, arguments, "subsidy-check")).answer
        visitor.demo.simulators.fault(fresh.provenance.provider, "down")
        try:
            await asyncio.sleep(1.2)  # its time to live is one second
            old = await _ask(client, FUND, arguments, "subsidy-check")
        finally:
            visitor.demo.simulators.fault(fresh.provenance.provider, "none")
    _check(old.answer.provenance.stale and old.answer.fields == fresh.fields, "the known answer must be given, marked as stale")
    return old.step(f"{FUND}, its provider down", "given because the interface allows stale answers, and marked as stale")


async def herd(visitor: Visitor) -> Step:
    """A thousand callers of one question that nobody has asked are one question to the provider."""
    who = visitor.people[30]
    async with visitor.client("civil-affairs") as client:
        await _ask(client, BASIC, {"resident_id": visitor.people[31]["resident_id"]}, "subsidy-check")
        before = _asked(visitor.demo, BASIC)
        began = time.perf_counter()
        calls = (_ask(client, BASIC, {"resident_id": who["resident_id"]}, "subsidy-check") for _ in range(HERD))
        answers = await asyncio.gather(*calls)
        elapsed_ms = (time.perf_counter() - began) * 1000
    upstream = _asked(visitor.demo, BASIC) - before
    _check(upstream == 1, f"{HERD} callers of one cold key must be one upstream call, not {upstream}")
    _check(all(one.answer.fields["name"] == who["name"] for one in answers), "all callers must get the answer")
    return Step(
        title=f"{HERD:,} callers of one cold question",
        result=f"{len(answers):,} OK",
        source=f"{upstream} upstream call",
        time_ms=elapsed_ms,
        notes=("counted by the provider",),
    )


def _asked(demo: Demo, interface: str) -> int:
    """How often the provider itself says it was asked."""
    return int(demo.simulators.stats("national")["interfaces"].get(interface, 0))


async def everything(visitor: Visitor) -> Step:
    """Every interface of the catalogue answers: signed HTTP, plain HTTP, gRPC and SQL providers."""
    questions = {name: sample_arguments(visitor.demo.city, name, 1)[0] for name in QUESTIONS}
    began = time.perf_counter()
    async with visitor.client("load-test") as client:
        answers = [await client.call(name, arguments, purpose="load-test") for name, arguments in questions.items()]
    elapsed_ms = (time.perf_counter() - began) * 1000
    _check(all(answer.found for answer in answers), "every interface must answer for a subject that it holds")
    levels = [answer.provenance.level for answer in answers]
    counts = ", ".join(f"{levels.count(level)} {level.lower()}" for level in ("NATIONAL", "PROVINCIAL", "CITY"))
    providers = len({answer.provenance.provider for answer in answers})
    return Step(
        title="every interface once",
        result=f"{len(answers)} FOUND",
        time_ms=elapsed_ms,
        notes=(f"{counts}; {providers} providers",),
    )


async def killed(visitor: Visitor) -> Step:
    """While a killed core is replaced, the front answers what is cached; then the next core answers the rest."""
    who = visitor.people[0]["resident_id"]
    async with visitor.client("civil-affairs") as client:
        await _ask(client, BASIC, {"resident_id": who}, "subsidy-check")  # the front gets to know the caller
        os.kill(_core_pid(visitor.demo), signal.SIGKILL)
        began = time.perf_counter()
        meanwhile = await _ask(client, BASIC, {"resident_id": who}, "subsidy-check")
        _check(meanwhile.answer.provenance.source == "CACHE", "the front must answer what is cached")
        while not await _is_answered(client, {"resident_id": f" {who}"}):
            _check(time.perf_counter() - began < 10, "a killed core must come back")
            await asyncio.sleep(0.01)
    whole_ms = (time.perf_counter() - began) * 1000
    note = f"by the front, with the core gone; what only a core can answer was answered after {whole_ms:.0f} ms"
    return meanwhile.step("the core, killed with -9, and asked again", note)


async def _is_answered(client: AsyncClient, arguments: Mapping[str, str]) -> bool:
    with contextlib.suppress(CallFailed):
        await _ask(client, BASIC, arguments, "subsidy-check")
        return True
    return False


def _core_pid(demo: Demo) -> int:
    """The older of the supervisor's children; the younger is the spare."""
    children = Path(f"/proc/{demo.supervisor.pid}/task/{demo.supervisor.pid}/children").read_text().split()
    return int(children[0])


STEPS: tuple[Callable[[Visitor], Awaitable[Step]], ...] = (
    first_call,
    same_again,
    other_spelling,
    a_verdict,
    a_search,
    not_found,
    wrong_argument,
    no_grant,
    the_fix_works,
    masked,
    over_rate,
    stale,
    herd,
    everything,
    mount_report,
    linking,
    *LIFE_OF_A_GRANT,
    *PROOF_OF_ACCESS,
    killed,
)


async def take(demo: Demo) -> AsyncIterator[Step]:
    """Take the tour, giving each step as it is done.

    Raises:
        Broken: a step did not do what it says.
    """
    visitor = Visitor(demo, sample_residents(demo.city, 40))
    for step in STEPS:
        yield await step(visitor)
