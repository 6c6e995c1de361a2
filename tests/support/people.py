"""Synthetic identifiers: right check characters, in an administrative division (99) that was never assigned."""

from __future__ import annotations

import string

from stdnum.cn import uscc
from stdnum.iso7064 import mod_11_2


def resident_id(serial: int, birth: str = "19800101") -> str:
    """Make a resident id; serial 0..999."""
    digits = f"990101{birth}{serial:03d}"
    return digits + mod_11_2.calc_check_digit(digits)


def company_id(serial: int) -> str:
    """Make a unified social credit code."""
    alphabet = string.digits + "ABCDEFGHJKLMNPQRTUWXY"
    body = "91990101MA" + "".join(alphabet[serial // 31**place % 31] for place in range(7))
    return body + uscc.calc_check_digit(body)
