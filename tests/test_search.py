"""`Search`: a subject whose key is unknown or wrong, under the same grants as `Call`, on a record base with a query index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.client import AsyncClient, OverRate, decode
from broker.demo.synthetic import Register, Settings, generate
from broker.v1 import exchange_pb2 as pb
from tests.support import records
from tests.support.catalogue import PURPOSE
from tests.support.people import resident_id
from tests.support.records import BASE
from tests.support.running import RunningBroker, eventually

SEARCH = {"search": {"name": "name", "resident_id": "resident_id", "birth_date": "birth_date", "address": "address"}}
OPERATION = {"operation": {"connector": "records", "base": BASE, "search": True}}
WHO, NAMESAKE, OTHER_NAMESAKE, TWIN = resident_id(1), resident_id(40), resident_id(41), resident_id(42)


def _crowd(count: int) -> list[str]:
    """People who are nobody that is looked for, enough of them to tell what is rare."""
    batches = generate(Settings(people=count, seed=11), Register.POPULATION)
    people = [row for batch in batches for row in batch.to_pylist()]
    return [f"{p['resident_id']},{p['name']},{p['birth_date']},{p['address']},正常,2099-12-31" for p in people]


ROWS = (
    f"{WHO},张伟明,1980-01-01,云鹤市松涛区建设路12号3栋2单元501室,正常,2099-12-31",
    f"{NAMESAKE},司徒清越,1971-05-06,云鹤市松涛区解放路1号,正常,2099-12-31",
    f"{OTHER_NAMESAKE},司徒清越,1971-05-06,云鹤市松涛区建设路77号,正常,2099-12-31",
    f"{TWIN},欧阳若兰,1990-02-03,云鹤市松涛区湖滨路8号1栋1单元101室,正常,2099-12-31",
    *_crowd(3000),
)


def catalogue(public_key: str, **grant: Any) -> Any:
    return records.catalogue(
        public_key,
        bases=(records.base(**SEARCH),),
        interfaces=(records.interface(**OPERATION),),
        grants=(records.granted(**grant),),
    )


@pytest.fixture(scope="module", params=["1", "0"], ids=["front", "core"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """Whose core has not searched before."""
    running = RunningBroker(tmp_path_factory.mktemp("search"), BROKER__GRPC__FRONTS=request.param)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
async def client(broker: RunningBroker) -> AsyncIterator[AsyncClient]:
    if not (broker.directory / "data" / "records" / BASE).exists():
        broker.apply(catalogue(broker.public_key))
        records.load(broker, *ROWS)
    if broker.in_force != catalogue(broker.public_key):
        await broker.put(catalogue(broker.public_key))
    async with broker.client() as client:
        yield client


async def test_what_searches_need_is_there_before_the_first_one(broker: RunningBroker, client: AsyncClient) -> None:
    async def loaded() -> bool:
        return "/_native/search." in Path(f"/proc/{broker.core_pid()}/maps").read_text()

    await eventually(loaded)


async def search(client: AsyncClient, known: dict[str, str], **changes: Any) -> pb.SearchResponse:
    return await client.exchange.Search(
        pb.SearchRequest(**{"base": BASE, "known": known, "purpose": PURPOSE, **changes}), timeout=5
    )


async def refused(client: AsyncClient, known: dict[str, str], **changes: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await search(client, known, **changes)
    return decode(refusal.value)


def wrong_digit(number: str) -> str:
    return number[:15] + str((int(number[15]) + 1) % 10) + number[16:]


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"resident_id": WHO}, id="the id"),
        pytest.param({"resident_id": wrong_digit(WHO), "name": "张伟明"}, id="a wrong digit"),
        pytest.param({"name": "張偉明", "birth_date": "1980年1月1日"}, id="traditional characters and a birth date"),
        pytest.param(
            {"name": "张玮明", "birth_date": "1980-01-01", "address": "建设路十二号3栋2-501"}, id="misheard, with an address"
        ),
    ],
)
async def test_who_is_meant_is_found(client: AsyncClient, known: dict[str, str]) -> None:
    answer = await search(client, known)
    first = answer.candidates[0]
    assert (answer.decision, first.decision) == (pb.DECISION_LINK, pb.DECISION_LINK)
    assert first.probability > 0.95
    assert WHO.encode() in first.payload
    assert set(first.verdicts) == set(known)


async def test_namesakes_of_one_birthday_are_left_to_a_clerk(client: AsyncClient) -> None:
    answer = await search(client, {"name": "司徒清越", "birth_date": "1971-05-06"})
    assert answer.decision == pb.DECISION_REVIEW
    first, second = answer.candidates[:2]
    assert 0.3 < second.probability <= first.probability < 0.7
    assert all("NAMESAKE" in one.guards for one in (first, second))
    told = await search(client, {"name": "司徒清越", "birth_date": "1971-05-06", "address": "解放路1号"})
    assert told.decision == pb.DECISION_LINK
    assert NAMESAKE.encode() in told.candidates[0].payload


async def test_a_twin_who_is_not_in_the_base_is_not_linked_to_the_one_who_is(client: AsyncClient) -> None:
    twin = {"name": "欧阳若竹", "birth_date": "1990-02-03", "address": "云鹤市松涛区湖滨路8号1栋1单元101室"}
    answer = await search(client, twin)
    assert answer.decision != pb.DECISION_LINK
    answer = await search(client, twin | {"resident_id": resident_id(43)})
    assert answer.decision != pb.DECISION_LINK


async def test_somebody_elses_right_id_is_never_enough(client: AsyncClient) -> None:
    answer = await search(client, {"name": "张伟明", "birth_date": "1980-01-01", "resident_id": resident_id(77)})
    assert answer.decision != pb.DECISION_LINK
    assert all("CONTRADICTION" in one.guards for one in answer.candidates)


async def test_who_is_nobody_is_not_found(client: AsyncClient) -> None:
    answer = await search(client, {"name": "慕容不存在", "birth_date": "1931-03-03"})
    assert (list(answer.candidates), answer.decision) == ([], pb.DECISION_NONE)


async def test_as_many_as_are_wanted_and_as_likely(client: AsyncClient) -> None:
    known = {"name": "司徒清越", "birth_date": "1971-05-06"}
    assert len((await search(client, known, max_candidates=1)).candidates) == 1
    assert list((await search(client, known, min_probability=0.9)).candidates) == []
    alone = await search(client, {"name": "司徒清越"}, min_probability=0.0001)
    assert list(alone.candidates) == [], "a name alone finds nobody"


async def test_a_change_is_found_at_once(client: AsyncClient, broker: RunningBroker) -> None:
    born = f"{resident_id(50)},夏侯云飞,2001-01-01,云鹤市松涛区湖滨路9号,正常,2099-12-31"
    known = {"name": "夏侯云飞", "birth_date": "2001-01-01"}
    assert not (await search(client, known)).candidates
    path = records.write_csv(broker.directory / "born.csv", born)
    done = broker.run_here("records", "upsert", BASE, str(path))
    assert done.returncode == 0, done.stderr
    assert (await search(client, known)).candidates[0].probability > 0.5
    done = broker.run_here("records", "delete", BASE, str(path))
    assert done.returncode == 0, done.stderr
    assert not (await search(client, known)).candidates


# --- grants -------------------------------------------------------------------------------------------------------------


async def test_a_grant_for_verdicts_shows_no_record(client: AsyncClient, broker: RunningBroker) -> None:
    await broker.put(catalogue(broker.public_key, disclosure="VERDICT_ONLY"))
    answer = await search(client, {"resident_id": WHO, "name": "张玮明"})
    assert answer.candidates[0].payload == b""
    assert answer.candidates[0].probability == 1.0, "two digits: how nearly an id was guessed is nobody's business"
    found = {name: pb.Verdict.Name(one.verdict) for name, one in answer.candidates[0].verdicts.items()}
    assert found == {"resident_id": "VERDICT_MATCH", "name": "VERDICT_CLOSE"}


async def test_only_granted_fields_are_shown_and_searched_by(client: AsyncClient, broker: RunningBroker) -> None:
    await broker.put(catalogue(broker.public_key, fields=["name", "birth_date"]))
    answer = await search(client, {"name": "张伟明", "birth_date": "1980-01-01"})
    assert WHO.encode() not in answer.candidates[0].payload
    refusal = await refused(client, {"name": "张伟明", "address": "建设路"})
    assert list(refusal.violations) == ["known.address"]


@pytest.mark.parametrize(
    ("known", "changes", "field"),
    [
        pytest.param({}, {}, "known", id="nothing"),
        pytest.param({"name": " "}, {}, "known.name", id="a blank"),
        pytest.param({"until": "2099-12-31"}, {}, "known.until", id="a field that is not searched by"),
        pytest.param({"name": "张伟明"}, {"max_candidates": 21}, "max_candidates", id="too many"),
        pytest.param({"name": "张伟明"}, {"min_probability": 1.5}, "min_probability", id="no probability"),
        pytest.param({"name": "张" * 2000}, {}, "known.name", id="a long name"),
        pytest.param({"name": "张??", "birth_date": "1980-01-01"}, {}, "known.name", id="a name with holes"),
        pytest.param({"name": "张伟明"}, {"base": ""}, "base", id="no base"),
    ],
)
async def test_what_cannot_be_searched_is_refused(
    client: AsyncClient, known: dict[str, str], changes: dict[str, Any], field: str
) -> None:
    refusal = await refused(client, known, **changes)
    assert list(refusal.violations) == [field]


async def test_an_interface_that_does_not_offer_it_is_not_searched(client: AsyncClient, broker: RunningBroker) -> None:
    plain = records.interface()
    await broker.put(records.catalogue(broker.public_key, bases=(records.base(**SEARCH),), interfaces=(plain,)))
    refusal = await refused(client, {"name": "张伟明"})
    assert list(refusal.violations) == ["base"]


async def test_each_candidate_is_a_subject_of_the_day(client: AsyncClient, broker: RunningBroker) -> None:
    await broker.put(catalogue(broker.public_key, subjects_per_day=2))
    known = {"name": "司徒清越", "birth_date": "1971-05-06"}
    assert len((await search(client, known)).candidates) == 2
    assert isinstance(await refused(client, {"resident_id": WHO}), OverRate)
    nobody = {"name": "慕容不存在", "birth_date": "1931-03-03"}
    assert isinstance(await refused(client, nobody), OverRate), "or a refusal would tell that somebody is there"
