"""The city's vocabulary: every column and field, what it means, its Chinese title and its code at the departments.

One word means one thing everywhere: in the city's tables, in the interfaces' arguments and answers, and (through the code, the
initials of the Chinese term in the way of GA/T 543) in what a department calls it. What must not go in here: values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from broker.model.catalogue import SemanticType as S


class Word(NamedTuple):
    """What a field is."""

    type: S
    title: str
    code: str


WORDS: dict[str, Word] = {
    # who
    "resident_id": Word(S.RESIDENT_ID, "公民身份号码", "GMSFHM"),
    "name": Word(S.PERSON_NAME, "姓名", "XM"),
    "sex": Word(S.TEXT, "性别", "XB"),
    "ethnicity": Word(S.TEXT, "民族", "MZ"),
    "birth_date": Word(S.DATE, "出生日期", "CSRQ"),
    "address": Word(S.ADDRESS, "住址", "ZZ"),
    "phone": Word(S.PHONE, "联系电话", "LXDH"),
    "status": Word(S.TEXT, "人员状态", "RYZT"),
    "death_date": Word(S.DATE, "死亡日期", "SWRQ"),
    "household_no": Word(S.TEXT, "户号", "HH"),
    "household_role": Word(S.TEXT, "与户主关系", "YHZGX"),
    "head_name": Word(S.PERSON_NAME, "户主姓名", "HZXM"),
    "members": Word(S.NUMBER, "户内人数", "HNRS"),
    "marital_status": Word(S.TEXT, "婚姻状况", "HYZK"),
    "spouse_id": Word(S.RESIDENT_ID, "配偶身份号码", "POSFHM"),
    "spouse_name": Word(S.PERSON_NAME, "配偶姓名", "POXM"),
    "mother_id": Word(S.RESIDENT_ID, "母亲身份号码", "MQSFHM"),
    "mother_name": Word(S.PERSON_NAME, "母亲姓名", "MQXM"),
    "holder_id": Word(S.TEXT, "持有人号码", "CYRHM"),  # a resident id or a USCC
    "holder_name": Word(S.TEXT, "持有人名称", "CYRMC"),
    "owner_id": Word(S.RESIDENT_ID, "权利人身份号码", "QLRSFHM"),
    "owner_name": Word(S.PERSON_NAME, "权利人姓名", "QLRXM"),
    "name_match": Word(S.TEXT, "姓名匹配代码", "XM_PPDDM"),  # 1 the same, 0 not
    # legal persons
    "uscc": Word(S.USCC, "统一社会信用代码", "TYSHXYDM"),
    "company_name": Word(S.COMPANY_NAME, "名称", "MC"),
    "company_kind": Word(S.TEXT, "主体类型", "ZTLX"),
    "legal_representative": Word(S.PERSON_NAME, "法定代表人", "FDDBR"),
    "representative_id": Word(S.RESIDENT_ID, "法定代表人身份号码", "FRSFHM"),
    "registered_capital": Word(S.NUMBER, "注册资本（万元）", "ZCZB"),
    "established_on": Word(S.DATE, "成立日期", "CLRQ"),
    "scope": Word(S.TEXT, "经营范围", "JYFW"),
    "company_status": Word(S.TEXT, "登记状态", "DJZT"),
    "company_name_match": Word(S.TEXT, "名称匹配代码", "MC_PPDDM"),
    "legal_representative_match": Word(S.TEXT, "法定代表人匹配代码", "FDDBR_PPDDM"),
    "authority": Word(S.TEXT, "决定机关", "JDJG"),
    # numbers of papers
    "certificate_no": Word(S.LICENCE_NO, "证书编号", "ZSBH"),
    "licence_no": Word(S.LICENCE_NO, "许可证编号", "XKZBH"),
    "passport_no": Word(S.LICENCE_NO, "护照号码", "HZHM"),
    "permit_no": Word(S.LICENCE_NO, "通行证号码", "TXZHM"),
    "plate_no": Word(S.LICENCE_NO, "号牌号码", "HPHM"),
    "title_no": Word(S.LICENCE_NO, "不动产权证号", "BDCQZH"),
    "contract_no": Word(S.LICENCE_NO, "合同编号", "HTBH"),
    "account_no": Word(S.LICENCE_NO, "账号", "ZH"),
    "insurance_no": Word(S.LICENCE_NO, "医保编号", "YBBH"),
    "student_no": Word(S.LICENCE_NO, "学籍号", "XJH"),
    "case_no": Word(S.TEXT, "案号", "AH"),
    # states, kinds and reasons
    "licence_type": Word(S.TEXT, "许可证类型", "XKZLX"),
    "paper_status": Word(S.TEXT, "证件状态", "ZJZT"),
    "account_status": Word(S.TEXT, "账户状态", "ZHZT"),
    "list_type": Word(S.TEXT, "名单类型", "MDLX"),
    "reason_code": Word(S.TEXT, "原因代码", "YYDM"),
    "vehicle_class": Word(S.TEXT, "准驾车型", "ZJCX"),
    "vehicle_type": Word(S.TEXT, "车辆类型", "CLLX"),
    "degree": Word(S.TEXT, "学历层次", "XLCC"),
    "major": Word(S.TEXT, "专业", "ZY"),
    "grade": Word(S.TEXT, "年级", "NJ"),
    "profession": Word(S.TEXT, "职业资格", "ZYZG"),
    "tax_rating": Word(S.TEXT, "纳税信用等级", "NSXYDJ"),
    "insurance_status": Word(S.TEXT, "参保状态", "CBZT"),
    "pension_status": Word(S.TEXT, "待遇状态", "DYZT"),
    "employment_status": Word(S.TEXT, "就业状态", "JYZT"),
    "scheme": Word(S.TEXT, "险种", "XZ"),
    "disability_type": Word(S.TEXT, "残疾类别", "CJLB"),
    "disability_grade": Word(S.TEXT, "残疾等级", "CJDJ"),
    "allowance_type": Word(S.TEXT, "救助类型", "JZLX"),
    "vaccine": Word(S.TEXT, "疫苗名称", "YMMC"),
    "utility": Word(S.TEXT, "用户类别", "YHLB"),
    "matter": Word(S.TEXT, "公证事项", "GZSX"),
    "duty": Word(S.TEXT, "义务内容", "YWNR"),
    "land_use": Word(S.TEXT, "用途", "YT"),
    # places and bodies
    "employer": Word(S.TEXT, "单位名称", "DWMC"),
    "issuer": Word(S.TEXT, "发证机关", "FZJG"),
    "school": Word(S.TEXT, "学校名称", "XXMC"),
    "hospital": Word(S.TEXT, "接生机构", "JSJG"),
    "court": Word(S.TEXT, "执行法院", "ZXFY"),
    "bank": Word(S.TEXT, "抵押权人", "DYQR"),
    "parlour": Word(S.TEXT, "殡仪馆", "BYG"),
    "village": Word(S.TEXT, "村名", "CM"),
    "street": Word(S.ADDRESS, "街路名", "JLM"),
    "district": Word(S.TEXT, "区县", "QX"),
    "grid_code": Word(S.TEXT, "网格编码", "WGBM"),
    "remote_city": Word(S.TEXT, "异地就医地", "YDJYD"),
    # days and months
    "registered_on": Word(S.DATE, "登记日期", "DJRQ"),
    "issued_on": Word(S.DATE, "发证日期", "FZRQ"),
    "valid_until": Word(S.DATE, "有效期至", "YXQZ"),
    "inspected_until": Word(S.DATE, "检验有效期至", "JYYXQZ"),
    "listed_on": Word(S.DATE, "列入日期", "LRRQ"),
    "filed_on": Word(S.DATE, "立案日期", "LARQ"),
    "graduated_on": Word(S.DATE, "毕业日期", "BYRQ"),
    "enrolled_on": Word(S.DATE, "入学日期", "RXRQ"),
    "cremated_on": Word(S.DATE, "火化日期", "HHRQ"),
    "last_dose_on": Word(S.DATE, "末次接种日期", "MCJZRQ"),
    "mortgaged_on": Word(S.DATE, "抵押登记日期", "DYDJRQ"),
    "seized_on": Word(S.DATE, "查封日期", "CFRQ"),
    "since": Word(S.DATE, "起始日期", "QSRQ"),
    "last_paid_month": Word(S.TEXT, "最近缴费年月", "ZJJFNY"),
    "tax_year": Word(S.TEXT, "税款所属年度", "SKSSND"),
    # amounts: money in yuan, areas in square metres, land in mu
    "income_amount": Word(S.NUMBER, "应税收入", "YSSR"),
    "tax_paid": Word(S.NUMBER, "已缴税额", "YJSE"),
    "arrears_amount": Word(S.NUMBER, "欠费金额", "QFJE"),
    "balance": Word(S.NUMBER, "账户余额", "ZHYE"),
    "monthly_amount": Word(S.NUMBER, "月金额", "YJE"),
    "price": Word(S.NUMBER, "成交价", "CJJ"),
    "insured_months": Word(S.NUMBER, "累计缴费月数", "LJJFYS"),
    "points": Word(S.NUMBER, "累积记分", "LJJF"),
    "doses": Word(S.NUMBER, "接种剂次", "JZJC"),
    "area": Word(S.NUMBER, "面积", "MJ"),
}


def _camel(word: str) -> str:
    first, *rest = word.split("_")
    return first + "".join(part.capitalize() for part in rest)


# How a department writes a field's name; SQL folds names, so databases use the last two only.
STYLES: dict[str, Callable[[str], str]] = {
    "code": lambda word: WORDS[word].code,
    "camel": _camel,
    "lower": lambda word: WORDS[word].code.lower(),
    "same": lambda word: word,
}
