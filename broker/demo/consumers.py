"""Who asks in the demonstration, and what each may see for which purpose: as data.

What must not go in here: what can be asked (interfaces.py) and how it is written down (catalogue.py).
"""

from __future__ import annotations

from typing import NamedTuple

from broker.demo.interfaces import QUESTIONS
from broker.demo.people import CITY


class Asking(NamedTuple):
    """A consumer, and the pace of its grants."""

    name: str
    department: str
    rate_per_second: float
    burst: int


APPROVER = "share-approval"  # decides for every department of the demonstration

CONSUMERS: dict[str, Asking] = {
    "civil-affairs": Asking("社会救助核对系统", f"{CITY}民政局", 2_000.0, 4_000),
    "notary-office": Asking("公证办证系统", f"{CITY}公证处", 500.0, 1_000),
    "housing-bureau": Asking("房屋交易系统", f"{CITY}住房和城乡建设局", 200.0, 400),
    "market-supervision": Asking("企业开办一窗通", f"{CITY}市场监督管理局", 500.0, 1_000),
    "tax-hall": Asking("办税服务厅系统", f"{CITY}税务局", 500.0, 1_000),
    "citizen-app": Asking("掌上云鹤", f"{CITY}政务服务数据管理局", 5.0, 5),
    APPROVER: Asking("数据共享审批系统", f"{CITY}政务服务数据管理局", 1.0, 1),
    "load-test": Asking("压力测试", f"{CITY}政务服务数据管理局", 1_000_000.0, 1_000_000),
}


class Right(NamedTuple):
    """One grant: an interface, the purpose, the fields ("" for all of them), the business matters ("" for any)."""

    interface: str
    purpose: str
    fields: str = ""
    matter: str = ""


def _rights(purpose: str, interfaces: str) -> tuple[Right, ...]:
    return tuple(Right(interface, purpose) for interface in interfaces.split())


LEGAL_BASIS = {
    "subsidy-check": "《社会救助暂行办法》第五十八条",
    "notarisation": "《公证法》第二十九条",
    "housing-transaction": "《不动产登记暂行条例》第二十四条",
    "business-registration": "《市场主体登记管理条例》第六条",
    "tax-service": "《税收征收管理法》第六条",
    "citizen-request": "本人申请",
    "load-test": "仅限合成数据",
}

RIGHTS: dict[str, tuple[Right, ...]] = {
    "civil-affairs": (
        Right("national.person.basic", "subsidy-check", "name status address"),
        *_rights(
            "subsidy-check",
            "national.person.deceased national.person.household national.marriage.status national.tax.income"
            " national.social-insurance.payment provincial.housing.fund provincial.pension.status"
            " provincial.employment.registration provincial.medical.insurance provincial.disability.certificate"
            " provincial.disability.subsidy provincial.allowance.minimum-living provincial.allowance.destitute"
            " provincial.cremation.record provincial.land.contract city.real-estate.by-owner city.elderly.allowance",
        ),
    ),
    "notary-office": (  # 28 interfaces of 10 departments
        Right("national.person.basic", "notarisation", "name status"),  # the address is nothing to a notary
        *_rights(
            "notarisation",
            "national.person.verify national.person.deceased national.person.household national.vehicle.registration"
            " national.driver.licence national.passport.validity national.travel-permit.validity"
            " national.marriage.status national.marriage.certificate national.social-organisation.basic"
            " national.education.degree national.education.enrolment national.enterprise.basic"
            " national.enterprise.verify national.enterprise.abnormal national.credit.enterprise national.credit.person"
            " national.birth.certificate provincial.housing.fund provincial.housing.contract provincial.housing.public"
            " city.notary.certificate city.notary.will city.real-estate.title city.real-estate.by-owner"
            " city.real-estate.mortgage city.real-estate.seizure",
        ),
    ),
    "housing-bureau": (  # and not national.person.basic
        Right("national.person.verify", "housing-transaction", "status name_match"),
        *_rights(
            "housing-transaction",
            "national.marriage.status provincial.housing.fund provincial.housing.contract provincial.housing.public"
            " city.real-estate.title city.real-estate.mortgage city.real-estate.seizure city.address.standard"
            " city.water.account city.heating.account city.gas.account",
        ),
    ),
    "market-supervision": (
        Right("national.person.verify", "business-registration", "status name_match"),
        Right("city.licence.food", "business-registration", matter="restaurant-opening"),
        *_rights(
            "business-registration",
            "national.enterprise.basic national.enterprise.verify national.enterprise.abnormal"
            " national.social-organisation.basic national.credit.enterprise national.credit.person"
            " national.tax.arrears provincial.transport.licence provincial.health.practitioner city.licence.any"
            " city.licence.by-holder city.licence.business city.street.occupation city.address.standard",
        ),
    ),
    "tax-hall": (
        Right("national.person.basic", "tax-service", "name status"),
        *_rights(
            "tax-service",
            "national.tax.income national.tax.rating national.tax.arrears national.enterprise.basic"
            " national.enterprise.verify national.credit.enterprise city.licence.business city.real-estate.title"
            " provincial.housing.contract",
        ),
    ),
    "citizen-app": (
        Right("national.person.basic", "citizen-request", "name status"),
        *_rights(
            "citizen-request",
            "national.driver.licence national.education.enrolment national.social-insurance.payment"
            " provincial.housing.fund provincial.medical.insurance provincial.medical.remote"
            " provincial.health.vaccination city.school.enrolment city.school.catchment city.residence.permit"
            " city.water.account city.heating.account city.gas.account city.bus.senior-card",
        ),
    ),
    "load-test": tuple(Right(interface, "load-test") for interface in QUESTIONS),
}
