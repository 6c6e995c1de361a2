"""The demonstration's 892 resources: 62 that an interface is mounted on, and what the departments publish beside them.

Each subject that a department publishes becomes a resource with its records and one with something derived from them. What
must not go in here: the subjects (publishers.py) and the interfaces (interfaces.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

from broker.demo.departments import DEPARTMENTS
from broker.demo.interfaces import QUESTIONS, service_id
from broker.demo.publishers import FURTHER, SUBJECTS
from broker.demo.question import RHYTHMS, Question
from broker.demo.vocabulary import WORDS, Word
from broker.model.catalogue import Level, Resource, ResourceItem, SemanticType, ShareType, UpdateCycle

COUNT = 892  # entries of the platform that this demonstration is modelled on
MATCH = Word(SemanticType.TEXT, "匹配代码（1 一致，0 不一致）", "")
_FIRST_DAY = dt.date(2018, 5, 1)
_CONDITION = "按业务事项申请授权"
_LENGTHS = {SemanticType.RESIDENT_ID: 18, SemanticType.USCC: 18, SemanticType.DATE: 10, SemanticType.PERSON_NAME: 50}


class Kind(NamedTuple):
    """What of a subject a resource holds."""

    title: str  # after the subject's name
    abstract: str
    items: str  # words of the vocabulary, or Chinese names of texts
    share_type: ShareType
    update_cycle: UpdateCycle


_FREE, _BOUND = ShareType.UNCONDITIONAL, ShareType.CONDITIONAL
_RECORDS = (
    Kind("信息", "登记主体、证照编号与状态", "uscc company_name licence_no issued_on 状态", _BOUND, "daily"),
    Kind("信息", "当事人、办理日期与结果", "resident_id name issued_on 办理机构 办理结果", _BOUND, "weekly"),
)
_DERIVED = (
    Kind("年度统计", "按区县与年度汇总", "统计年度 区县 数量 同比增减", _FREE, "yearly"),
    Kind("名录", "名称、地址与联系方式", "名称 address phone 主管部门", _FREE, "monthly"),
    Kind("变更记录", "变更事项、内容与日期", "licence_no 变更事项 变更内容 变更日期", _BOUND, "real-time"),
)
_LEVELS = list(Level)


def publishers() -> dict[str, str]:
    """Return the names of all 52 departments by id, those that answer first."""
    return {department.id: department.name for department in DEPARTMENTS.values()} | FURTHER


def resources() -> tuple[Resource, ...]:
    """Return every resource of the demonstration: the mounted ones, then the others."""
    mounted = [_of_question(question) for question in QUESTIONS.values()]
    return (*mounted, *list(_of_subjects())[: COUNT - len(mounted)])


def code_of(question: Question) -> str:
    """Compose the code of the resource that an interface is mounted on: department, then serial."""
    return f"{_unit(question.department)}/{int(service_id(question.id).rpartition('_')[2]):06d}"


def _of_question(question: Question) -> Resource:
    words = [WORDS.get(word, MATCH) for word in question.answer]
    return Resource(
        code=code_of(question),
        name=question.title.removesuffix("查询").removesuffix("核验"),
        provider=question.department,
        abstract=f"{question.owner.name}提供：{'、'.join(word.title for word in words)}",
        items=tuple(_item(word) for word in words),
        classification=_classification(question.owner.level, question.department),
        share_condition=_CONDITION,
        update_cycle=RHYTHMS[question.rhythm].update_cycle,
        published=_FIRST_DAY,
    )


def _of_subjects() -> Iterator[Resource]:
    number = 0
    for department, name in publishers().items():
        serial = 100
        for subject in SUBJECTS[department].split():
            for kind in (_RECORDS[number // 2 % len(_RECORDS)], _DERIVED[number // 2 % len(_DERIVED)]):
                serial, number = serial + 1, number + 1
                yield _published(department, name, subject, kind, serial)


def _published(department: str, owner: str, subject: str, kind: Kind, serial: int) -> Resource:
    secret = subject.endswith("!")
    share_type = ShareType.NOT_SHARED if secret else kind.share_type
    level = DEPARTMENTS[department].level if department in DEPARTMENTS else Level.CITY
    return Resource(
        code=f"{_unit(department)}/{serial:06d}",
        name=f"{subject.rstrip('!')}{kind.title}",
        provider=department,
        abstract=f"{owner}{subject.rstrip('!')}的{kind.abstract}",
        items=tuple(_item(WORDS.get(word, Word(SemanticType.TEXT, word, ""))) for word in kind.items.split()),
        classification=_classification(level, department),
        share_type=share_type,
        share_condition=_CONDITION if share_type is ShareType.CONDITIONAL else "",
        update_cycle=kind.update_cycle,
        published=_FIRST_DAY + dt.timedelta(days=serial % 200),
    )


def _unit(department: str) -> str:
    return str(99_0000 + list(publishers()).index(department))


def _classification(level: Level, department: str) -> str:
    """Class 3 (by department), the level, the department."""
    return f"3-{_LEVELS.index(level) + 1:02d}-{list(publishers()).index(department) + 1:03d}"


def _item(word: Word) -> ResourceItem:
    return ResourceItem(name=word.title, type=word.type, max_chars=_LENGTHS.get(word.type, 100))
