"""Signs that are typed for one another, and what each folds to; and the private-use forms of GB 18030.

NFKC unites neither the middle dots nor the dashes nor the brackets. What must not go in here: letters and ideographs.
"""

from __future__ import annotations

MIDDLE_DOT = 0xB7
UNKNOWN = 0x25A1  # □: a character that somebody could not write
ZERO = 0x3007  # 〇
SPACE = 0x20

_ALIKE = {
    MIDDLE_DOT: "··•‧∙⋅・･●ㆍ᛫⸱ꞏ\uf0b7\uf09e",
    ord("-"): "‐‑‒–—―⁃−﹘﹣－⁓─━",
    ord("~"): "〜～∼˜",
    ord("'"): "‘’‚‛′‵´`ʹʻʼʽˈ՚ꞌ",
    ord('"'): "“”„‟″‶〝〞〟«»‹›「」『』《》〈〉〃",
    ord("("): "[{〔［【｛〖〘〚❨❪❬❮❰❲⟦⟨⟪⟬⦃⦅⁅﹝⸨",
    ord(")"): "]}〕］】｝〗〙〛❩❫❭❯❱❳⟧⟩⟫⟭⦄⦆⁆﹞⸩",
    ord(","): "，、､‚",
    ord("."): "。｡",
    UNKNOWN: "□■▢▣◻◼⬜⬛〓\ufffd",
    ZERO: "〇○◯⚪⭕",
    SPACE: "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029\u2800",
}
ALIKE = {ord(char): target for target, chars in _ALIKE.items() for char in chars if ord(char) != target}

# Letters that Unicode does not decompose, as passports and databases write them.
PLAIN_LETTERS = {
    **dict.fromkeys(map(ord, "øǿ"), "o"),
    **dict.fromkeys(map(ord, "đðɖ"), "d"),
    **dict.fromkeys(map(ord, "æǽ"), "ae"),
    ord("œ"): "oe",
    ord("þ"): "th",
    ord("ł"): "l",
    ord("ħ"): "h",
    ord("ŧ"): "t",
    ord("ı"): "i",
    ord("ŋ"): "ng",
}

# Zero width or blank to the eye, and neither a space nor (by category) invisible.
BLANK = frozenset(map(ord, "\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5"))
DROPPED_MARKS = (  # accents of Latin, Greek and Cyrillic, voicing of kana, and selectors of a glyph variant
    range(0x300, 0x370),
    range(0x1AB0, 0x1B00),
    range(0x1DC0, 0x1E00),
    range(0x20D0, 0x2100),
    range(0x3099, 0x309B),
    range(0xFE00, 0xFE10),
    range(0xFE20, 0xFE30),
    range(0x180B, 0x1810),
    range(0xE0100, 0xE01F0),
)


def _gb18030() -> dict[int, int]:
    """Private-use code points that GB 18030 or its forerunners used for characters that Unicode has by now.

    Bytes A6D9.. and FE51.. are the 24 that GB 18030-2022 moved (its table of changed mappings); A8BC and A8BF changed in
    2005; FE50–FEA0 and A989–A995 are what GBK had in the private-use area, in the order of their bytes.
    """
    moved = dict(zip(range(0xE78D, 0xE797), (0xFE10, 0xFE12, 0xFE11, *range(0xFE13, 0xFE1A)), strict=True))
    moved |= {0xE816: 0x20087, 0xE817: 0x20089, 0xE818: 0x200CC, 0xE831: 0x215D7, 0xE83B: 0x2298F, 0xE855: 0x241FE}
    moved |= {0xE81E: 0x9FB4, 0xE826: 0x9FB5, 0xE82B: 0x9FB6, 0xE82C: 0x9FB7, 0xE832: 0x9FB8}
    moved |= {0xE843: 0x9FB9, 0xE854: 0x9FBA, 0xE864: 0x9FBB, 0xE7C7: 0x1E3F, 0xE7C8: 0x01F9, 0xE76C: 0x20AC}
    moved |= dict(zip(range(0xE7E7, 0xE7F4), (0x303E, *range(0x2FF0, 0x2FFC)), strict=True))
    trails = [trail for trail in range(0x50, 0xA1) if trail != 0x7F]
    for code, trail in zip(range(0xE815, 0xE865), trails, strict=True):
        standard = ord(bytes((0xFE, trail)).decode("gb18030"))
        moved.setdefault(code, standard)
    return moved


GB18030 = _gb18030()
