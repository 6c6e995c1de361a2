"""The 62 interfaces of the demonstration as one table, and arguments to ask them with.

25 national, 16 provincial, 21 of the city: the numbers of the platform that this demonstration is modelled on. An entry reads:
id, title, department, asked; answered, table, rhythm, condition (see `Question`). What must not go in here: how a department
writes things down (departments.py).
"""

from __future__ import annotations

import functools
from pathlib import Path

from broker.demo.city import absent_resident_id, absent_uscc, sample
from broker.demo.departments import DEPARTMENTS
from broker.demo.question import Question
from broker.demo.vocabulary import WORDS
from broker.model.catalogue import SemanticType

_POLICE, _BORDER, _MARRIAGE = "national.public-security", "national.immigration", "national.civil-affairs"
_LEARNING, _TAX, _LABOUR = "national.education", "national.taxation", "national.human-resources"
_MARKET, _CREDIT, _COURT, _BIRTH = "national.market-regulation", "national.credit", "national.supreme-court", "national.health"
_HOUSING, _MEDICAL, _WORK = "provincial.housing", "provincial.medical-insurance", "provincial.human-resources"
_DISABLED, _AID, _CARE = "provincial.disabled-persons", "provincial.civil-affairs", "provincial.health"
_ROADS, _LAND = "provincial.transport", "provincial.agriculture"
_APPROVAL, _NOTARY, _ESTATE, _SCHOOL = "city.approval", "city.notary", "city.real-estate", "city.education"
_STATION, _ELDERLY, _STREETS = "city.public-security", "city.civil-affairs", "city.urban-management"

_PAPER = "issued_on valid_until paper_status"
_COMPANY = "uscc company_name company_kind legal_representative registered_capital established_on address scope company_status"
_LICENCE = f"licence_no licence_type holder_id holder_name issuer {_PAPER}"
_ACCOUNT = "account_no holder_name address balance arrears_amount account_status"

_NATIONAL = (
    Question(
        "national.person.basic", "人口基本信息查询", _POLICE, "resident_id",
        "resident_id name sex ethnicity birth_date address status death_date?", "person", "people",
    ),
    Question(
        "national.person.verify", "人口身份核验", _POLICE, "resident_id +name",
        "resident_id status", "person", "people",
    ),
    Question(
        "national.person.deceased", "人口死亡状态查询", _POLICE, "resident_id",
        "resident_id status death_date?", "person", "live",
    ),
    Question(
        "national.person.household", "户籍关系查询", _POLICE, "resident_id",
        "resident_id name household_no household_role head_name members address", "household_member", "people",
    ),
    Question(
        "national.vehicle.registration", "机动车登记信息查询", _POLICE, "plate_no",
        "plate_no owner_id vehicle_type registered_on inspected_until paper_status", "vehicle", "daily",
    ),
    Question(
        "national.driver.licence", "机动车驾驶证查询", _POLICE, "resident_id",
        f"resident_id licence_no vehicle_class points {_PAPER}", "driver", "daily",
    ),
    Question(
        "national.passport.validity", "普通护照有效性查询", _BORDER, "passport_no resident_id",
        f"passport_no resident_id name {_PAPER}", "passport", "daily",
    ),
    Question(
        "national.travel-permit.validity", "往来港澳通行证查询", _BORDER, "permit_no",
        "permit_no resident_id valid_until paper_status", "travel_permit", "daily",
    ),
    Question(
        "national.marriage.status", "婚姻状况查询", _MARRIAGE, "resident_id",
        "resident_id name marital_status", "person", "daily",
    ),
    Question(
        "national.marriage.certificate", "婚姻登记证核验", _MARRIAGE, "certificate_no",
        "certificate_no resident_id name spouse_id spouse_name registered_on paper_status", "marriage", "daily",
    ),
    Question(
        "national.social-organisation.basic", "社会组织法人登记查询", _MARRIAGE, "uscc",
        _COMPANY, "company", "weekly", "company_kind = '社会组织'",
    ),
    Question(
        "national.education.degree", "高等教育学历查询", _LEARNING, "resident_id",
        "resident_id certificate_no name school degree major graduated_on", "education", "yearly",
    ),
    Question(
        "national.education.enrolment", "学籍信息查询", _LEARNING, "resident_id",
        "resident_id student_no name school grade paper_status", "pupil", "monthly",
    ),
    Question(
        "national.tax.income", "个人所得税纳税记录查询", _TAX, "resident_id tax_year",
        "resident_id tax_year income_amount tax_paid", "income_tax", "monthly",
    ),
    Question(
        "national.tax.rating", "企业纳税信用等级查询", _TAX, "uscc",
        "uscc company_name tax_rating tax_year", "company_tax", "yearly",
    ),
    Question(
        "national.tax.arrears", "企业欠税信息查询", _TAX, "uscc",
        "uscc company_name arrears_amount", "company_tax", "live",
    ),
    Question(
        "national.social-insurance.payment", "养老保险缴费查询", _LABOUR, "resident_id",
        "resident_id insured_months insurance_status last_paid_month employer", "insurance", "monthly",
    ),
    Question(
        "national.qualification.certificate", "专业技术资格证书查询", _LABOUR, "resident_id",
        "resident_id certificate_no name profession issued_on paper_status", "qualification", "monthly",
    ),
    Question(
        "national.enterprise.basic", "企业登记基本信息查询", _MARKET, "uscc",
        _COMPANY, "company", "daily",
    ),
    Question(
        "national.enterprise.verify", "企业要素核验", _MARKET, "uscc +company_name +legal_representative",
        "uscc company_status", "company", "daily",
    ),
    Question(
        "national.enterprise.abnormal", "经营异常名录查询", _MARKET, "uscc",
        "uscc listed_on reason_code authority", "abnormal", "live",
    ),
    Question(
        "national.credit.enterprise", "法人信用红黑名单查询", _CREDIT, "uscc",
        "uscc list_type listed_on? reason_code?", "company_credit", "live",
    ),
    Question(
        "national.credit.person", "自然人信用红黑名单查询", _CREDIT, "resident_id",
        "resident_id list_type listed_on? reason_code?", "person_credit", "live",
    ),
    Question(
        "national.court.debtor", "失信被执行人查询", _COURT, "resident_id",
        "resident_id name case_no court filed_on duty", "debtor", "live",
    ),
    Question(
        "national.birth.certificate", "出生医学证明核验", _BIRTH, "certificate_no",
        "certificate_no resident_id name birth_date hospital mother_id mother_name", "birth", "daily",
    ),
)  # fmt: skip

_PROVINCIAL = (
    Question(
        "provincial.housing.fund", "住房公积金账户查询", _HOUSING, "resident_id",
        "resident_id account_no name employer monthly_amount balance account_status", "fund", "moment",
    ),
    Question(
        "provincial.housing.contract", "商品房买卖合同备案查询", _HOUSING, "contract_no",
        "contract_no resident_id name address price registered_on paper_status", "sale_contract", "daily",
    ),
    Question(
        "provincial.housing.public", "公租房保障信息查询", _HOUSING, "resident_id",
        "resident_id contract_no address monthly_amount since paper_status", "public_housing", "monthly",
    ),
    Question(
        "provincial.medical.insurance", "基本医疗保险参保查询", _MEDICAL, "resident_id",
        "resident_id insurance_no scheme insurance_status balance", "medical", "daily",
    ),
    Question(
        "provincial.medical.remote", "异地就医备案查询", _MEDICAL, "resident_id",
        "resident_id insurance_no scheme remote_city?", "medical", "daily",
    ),
    Question(
        "provincial.pension.status", "养老金待遇状态查询", _WORK, "resident_id",
        "resident_id pension_status monthly_amount", "insurance", "monthly",
    ),
    Question(
        "provincial.employment.registration", "就业失业登记查询", _WORK, "resident_id",
        "resident_id employment_status employer", "insurance", "monthly",
    ),
    Question(
        "provincial.disability.certificate", "残疾人证查询", _DISABLED, "resident_id",
        "resident_id certificate_no disability_type disability_grade valid_until", "disability", "weekly",
    ),
    Question(
        "provincial.disability.subsidy", "残疾人两项补贴查询", _DISABLED, "resident_id",
        "resident_id certificate_no disability_grade monthly_amount", "disability", "monthly",
    ),
    Question(
        "provincial.allowance.minimum-living", "最低生活保障对象查询", _AID, "resident_id",
        "resident_id household_no allowance_type monthly_amount since paper_status", "allowance", "monthly",
        "allowance_type = '最低生活保障'",
    ),
    Question(
        "provincial.allowance.destitute", "特困供养人员查询", _AID, "resident_id",
        "resident_id household_no allowance_type monthly_amount since paper_status", "allowance", "monthly",
        "allowance_type = '特困供养'",
    ),
    Question(
        "provincial.cremation.record", "火化信息查询", _AID, "resident_id",
        "resident_id name cremated_on parlour", "cremation", "live",
    ),
    Question(
        "provincial.health.vaccination", "儿童预防接种查询", _CARE, "resident_id",
        "resident_id vaccine doses last_dose_on", "vaccination", "daily",
    ),
    Question(
        "provincial.health.practitioner", "医师执业注册查询", _CARE, "certificate_no",
        "certificate_no resident_id name profession issued_on paper_status", "doctor", "weekly",
    ),
    Question(
        "provincial.transport.licence", "道路运输经营许可证查询", _ROADS, "licence_no",
        _LICENCE, "licence", "daily", "licence_type = '道路运输经营许可证'",
    ),
    Question(
        "provincial.land.contract", "土地承包经营权查询", _LAND, "resident_id",
        "resident_id contract_no village area monthly_amount", "land_contract", "yearly",
    ),
)  # fmt: skip

_CITY = (
    Question(
        "city.licence.any", "电子证照查询", _APPROVAL, "licence_no",
        _LICENCE, "licence", "daily",
    ),
    Question(
        "city.licence.by-holder", "持证主体证照查询", _APPROVAL, "holder_id licence_type",
        _LICENCE, "licence", "daily", latest="issued_on",
    ),
    Question(
        "city.licence.business", "营业执照查询", _APPROVAL, "licence_no",
        _LICENCE, "licence", "daily", "licence_type = '营业执照'",
    ),
    Question(
        "city.licence.food", "食品经营许可证查询", _APPROVAL, "licence_no",
        _LICENCE, "licence", "daily", "licence_type = '食品经营许可证'",
    ),
    Question(
        "city.notary.certificate", "公证书核验", _NOTARY, "certificate_no",
        "certificate_no holder_id holder_name matter issued_on paper_status", "notary", "daily",
    ),
    Question(
        "city.notary.will", "遗嘱公证登记查询", _NOTARY, "resident_id",
        "resident_id certificate_no registered_on paper_status", "will", "live",
    ),
    Question(
        "city.real-estate.title", "不动产权证查询", _ESTATE, "title_no",
        "title_no owner_id owner_name address area land_use registered_on paper_status", "real_estate", "daily",
    ),
    Question(
        "city.real-estate.by-owner", "权利人不动产查询", _ESTATE, "owner_id",
        "owner_id owner_name title_no address area land_use registered_on", "real_estate", "daily",
        latest="registered_on",
    ),
    Question(
        "city.real-estate.mortgage", "不动产抵押查询", _ESTATE, "title_no",
        "title_no bank? mortgaged_on?", "real_estate", "live",
    ),
    Question(
        "city.real-estate.seizure", "不动产查封查询", _ESTATE, "title_no",
        "title_no court? seized_on? paper_status", "real_estate", "live",
    ),
    Question(
        "city.school.enrolment", "在校生查询", _SCHOOL, "resident_id",
        "resident_id student_no name school grade enrolled_on paper_status", "pupil", "monthly",
    ),
    Question(
        "city.school.catchment", "学区划分查询", _SCHOOL, "street",
        "street district school", "catchment", "yearly",
    ),
    Question(
        "city.residence.permit", "居住证查询", _STATION, "resident_id",
        "resident_id permit_no address valid_until paper_status", "residence_permit", "daily",
    ),
    Question(
        "city.address.standard", "标准地址查询", _STATION, "address",
        "address street district grid_code", "household", "yearly", latest="household_no",
    ),
    Question(
        "city.elderly.allowance", "高龄津贴查询", _ELDERLY, "resident_id",
        "resident_id monthly_amount since account_status", "elderly_allowance", "monthly",
    ),
    Question(
        "city.water.account", "供水账户查询", "city.water", "account_no",
        _ACCOUNT, "utility_account", "daily", "utility = '供水'",
    ),
    Question(
        "city.heating.account", "供热账户查询", "city.heating", "account_no",
        _ACCOUNT, "utility_account", "daily", "utility = '供热'",
    ),
    Question(
        "city.gas.account", "燃气账户查询", "city.gas", "account_no",
        _ACCOUNT, "utility_account", "daily", "utility = '燃气'",
    ),
    Question(
        "city.street.occupation", "临时占道许可查询", _STREETS, "licence_no",
        _LICENCE, "licence", "daily", "licence_type = '临时占道许可证'",
    ),
    Question(
        "city.bus.senior-card", "老年优待卡查询", "city.transport", "resident_id",
        "resident_id account_no issued_on account_status", "senior_card", "weekly",
    ),
    Question(
        "city.archive.marriage", "婚姻档案查询", "city.archives", "certificate_no",
        "certificate_no resident_id name spouse_id spouse_name registered_on", "marriage", "yearly",
    ),
)  # fmt: skip

QUESTIONS: dict[str, Question] = {question.id: question for question in (*_NATIONAL, *_PROVINCIAL, *_CITY)}


@functools.cache
def service_id(interface: str) -> str:
    """Return what the department calls an interface: ``s_<unit>_<number>``."""
    department = QUESTIONS[interface].department
    own = [question.id for question in QUESTIONS.values() if question.department == department]
    return f"s_{99_0000 + list(DEPARTMENTS).index(department)}_{own.index(interface) + 1}"


def sample_arguments(city: Path, interface: str, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Draw arguments with which an interface finds a record; fewer if the city has not as many."""
    question = QUESTIONS[interface]
    columns = ", ".join(question.keys + question.compared)
    return sample(city, columns, question.source, count, seed, question.where or "1 = 1")


_ABSENT: dict[SemanticType, str] = {
    SemanticType.RESIDENT_ID: absent_resident_id(),
    SemanticType.USCC: absent_uscc(),
    SemanticType.LICENCE_NO: "ABSENT0000000000",
    SemanticType.TEXT: "ABSENT0000000000",
    SemanticType.ADDRESS: "云鹤市无此地址",
}


def absent_value(word: str) -> str:
    """Give a well-formed value that the city has nowhere."""
    return _ABSENT[WORDS[word].type]


def absent_arguments(city: Path, interface: str) -> dict[str, str]:
    """Give arguments for which there is certainly no record: a subject that is not in the city, all else well-formed."""
    subject = QUESTIONS[interface].keys[0]
    return {**sample_arguments(city, interface, 1)[0], subject: absent_value(subject)}
