"""The departments that answer, and how each of them speaks: protocol, envelope, and names of fields.

They are pretended counterparts of real bodies and say so in their names. What must not go in here: what they can be asked
(interfaces.py) and where they listen (catalogue.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from broker.model.catalogue import Envelope, Level, ProviderFault

OK = "0"
BAD_SIGNATURE = "1401"  # with HTTP status 401
BAD_PARAMETERS = "2001"
NO_RECORD = "3001"
REFUSED = "4002"
QUOTA_USED_UP = "5003"
OUT_OF_ORDER = "9001"

REQUESTER_ID = "yunhe-broker"  # under which the national departments know the broker

_FAULTS: dict[str, ProviderFault] = {
    BAD_SIGNATURE: "unavailable",
    QUOTA_USED_UP: "overloaded",
    OUT_OF_ORDER: "unavailable",
}  # BAD_PARAMETERS and REFUSED are not named: any other code is a refusal

Fields = dict[str, Any]


class Shape(NamedTuple):
    """The outside of an answer: how a consumer reads it, how a department writes it, and where in a record the fields are."""

    envelope: Envelope
    write: Callable[[str, Fields | None], Any]
    no_record: str = NO_RECORD  # the code with which a department says that it has none
    within: str = ""  # name of the table in the record that holds the fields
    sends_null: bool = True  # for an empty field; else it is left out


def _coded(code: str, record: str) -> Envelope:
    return Envelope(record=record, code=code, success=(OK,), not_found=(NO_RECORD,), faults=_FAULTS)


def _rows(record: Fields | None) -> list[Fields]:
    return [record] if record else []


SHAPES: dict[str, Shape] = {
    "records": Shape(
        _coded("code", "data.records.0"),
        lambda code, record: {"code": code, "message": "", "data": {"records": _rows(record)}},
        no_record=OK,  # and an empty list
    ),
    "data": Shape(
        _coded("code", "data"),
        lambda code, record: {"code": code, "message": "", "data": record},
        sends_null=False,
    ),
    "head": Shape(
        _coded("head.status", "body.result"),
        lambda code, record: {"head": {"status": code}, "body": {"result": record}},
        within="JBXX",
    ),
    "rows": Shape(  # no business codes: errors are HTTP statuses
        Envelope(record="rows.0"),
        lambda code, record: {"rows": _rows(record)},
        no_record=OK,
    ),
}


class Department(NamedTuple):
    """One provider."""

    id: str
    name: str
    level: Level
    connector: Literal["http", "grpc", "sql"]
    shape: str = ""
    style: str = "same"
    verb: Literal["GET", "POST"] = "POST"
    codec: Literal["json", "msgpack"] = "json"
    timeout_ms: int = 3000

    @property
    def service(self) -> str:
        """Name of its gRPC service."""
        return f"province.{self.id.split('.')[1].replace('-', '_')}.v1.Records"


N, P, C = Level.NATIONAL, Level.PROVINCIAL, Level.CITY

DEPARTMENTS: dict[str, Department] = {
    department.id: department
    for department in (
        Department("national.public-security", "公安部（模拟）", N, "http", "records", "code"),
        Department("national.immigration", "国家移民管理局（模拟）", N, "http", "records", "code"),
        Department("national.civil-affairs", "民政部（模拟）", N, "http", "data", "lower"),
        Department("national.education", "教育部（模拟）", N, "http", "data", "camel"),
        Department("national.taxation", "国家税务总局（模拟）", N, "http", "head", "code", timeout_ms=5000),
        Department("national.human-resources", "人力资源和社会保障部（模拟）", N, "http", "head", "lower"),
        Department("national.market-regulation", "国家市场监督管理总局（模拟）", N, "http", "data", "camel"),
        Department("national.credit", "全国信用信息共享平台（模拟）", N, "http", "records", "lower"),
        Department("national.supreme-court", "最高人民法院（模拟）", N, "http", "data", "code", timeout_ms=5000),
        Department("national.health", "国家卫生健康委员会（模拟）", N, "http", "data", "lower"),
        Department("provincial.housing", "北云省住房和城乡建设厅（模拟）", P, "grpc", "data", "camel", timeout_ms=2000),
        Department(
            "provincial.medical-insurance",
            "北云省医疗保障局（模拟）",
            P,
            "grpc",
            "records",
            "code",
            codec="msgpack",
            timeout_ms=2000,
        ),
        Department(
            "provincial.human-resources", "北云省人力资源和社会保障厅（模拟）", P, "grpc", "head", "same", timeout_ms=2000
        ),
        Department(
            "provincial.disabled-persons", "北云省残疾人联合会（模拟）", P, "http", "rows", "same", "GET", timeout_ms=2000
        ),
        Department("provincial.civil-affairs", "北云省民政厅（模拟）", P, "http", "data", "lower", timeout_ms=2000),
        Department("provincial.health", "北云省卫生健康委员会（模拟）", P, "http", "records", "camel", timeout_ms=2000),
        Department("provincial.transport", "北云省交通运输厅（模拟）", P, "http", "head", "code", timeout_ms=2000),
        Department("provincial.agriculture", "北云省农业农村厅（模拟）", P, "http", "rows", "lower", "GET", timeout_ms=2000),
        Department("city.approval", "云鹤市行政审批局", C, "sql", timeout_ms=1000),
        Department("city.notary", "云鹤市公证处", C, "sql", timeout_ms=1000),
        Department("city.real-estate", "云鹤市不动产登记中心", C, "sql", style="lower", timeout_ms=1000),
        Department("city.education", "云鹤市教育局", C, "sql", timeout_ms=1000),
        Department("city.public-security", "云鹤市公安局", C, "sql", style="lower", timeout_ms=1000),
        Department("city.civil-affairs", "云鹤市民政局", C, "sql", timeout_ms=1000),
        Department("city.water", "云鹤市供水集团", C, "sql", style="lower", timeout_ms=1000),
        Department("city.heating", "云鹤市供热公司", C, "sql", timeout_ms=1000),
        Department("city.gas", "云鹤市燃气公司", C, "sql", timeout_ms=1000),
        Department("city.urban-management", "云鹤市城市管理局", C, "sql", timeout_ms=1000),
        Department("city.transport", "云鹤市公共交通公司", C, "sql", timeout_ms=1000),
        Department("city.archives", "云鹤市档案馆", C, "sql", timeout_ms=1000),
    )
}
