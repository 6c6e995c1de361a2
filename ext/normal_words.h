/* Words that the names of companies and addresses are made of, folded: longest first where one begins with another.
 *
 * What must not go in here: names of places (tools/normalisation/places.txt), anything that is not compared as a whole.
 */
#ifndef BROKER_NORMAL_WORDS_H
#define BROKER_NORMAL_WORDS_H

#include <stddef.h>
#include <stdint.h>
#include <uchar.h>

#define MOST_WORD_CODES 16

typedef struct {
    char32_t text[MOST_WORD_CODES + 1];
    uint8_t size;
    uint8_t kind;
} word;

#define WORD(text, kind) {U##text, sizeof(U##text) / sizeof(char32_t) - 1, kind}
#define END_OF_WORDS {U"", 0, 0}

/* The word that stands at the beginning of the codes; NULL where none does. */
static inline const word *word_at(const word *words, const uint32_t *codes, int count) {
    for (; words->size > 0; words++) {
        int i = 0;
        if (words->size > count || words->text[0] != codes[0]) continue;
        while (i < words->size && words->text[i] == codes[i]) i++;
        if (i == words->size) return words;
    }
    return NULL;
}

/* The word that the codes end with; NULL where there is none. */
static inline const word *word_before(const word *words, const uint32_t *codes, int count) {
    for (; words->size > 0; words++) {
        int i = 0;
        if (words->size > count) continue;
        while (i < words->size && words->text[i] == codes[count - words->size + i]) i++;
        if (i == words->size) return words;
    }
    return NULL;
}

/* --- companies --- */

enum company_form {
    FORM_NONE, FORM_LIMITED, FORM_JOINT_STOCK, FORM_COMPANY, FORM_PARTNERSHIP, FORM_LIMITED_PARTNERSHIP, FORM_SOLE
};

/* The legal forms: 有限公司 and 有限责任公司 are one (Company Law, article 8 of 2018), as are 股份公司 and 股份有限公司. */
static const word company_forms[] = {
    WORD("股份有限责任公司", FORM_JOINT_STOCK), WORD("股份有限公司", FORM_JOINT_STOCK), WORD("股份公司", FORM_JOINT_STOCK),
    WORD("有限责任公司", FORM_LIMITED), WORD("责任有限公司", FORM_LIMITED), WORD("有限公司", FORM_LIMITED),
    WORD("合伙企业(有限合伙)", FORM_LIMITED_PARTNERSHIP), WORD("(有限合伙)", FORM_LIMITED_PARTNERSHIP),
    WORD("有限合伙企业", FORM_LIMITED_PARTNERSHIP), WORD("有限合伙", FORM_LIMITED_PARTNERSHIP),
    WORD("合伙企业(普通合伙)", FORM_PARTNERSHIP), WORD("(特殊普通合伙)", FORM_PARTNERSHIP),
    WORD("(普通合伙)", FORM_PARTNERSHIP), WORD("普通合伙企业", FORM_PARTNERSHIP), WORD("普通合伙", FORM_PARTNERSHIP),
    WORD("合伙企业", FORM_PARTNERSHIP), WORD("(个人独资)", FORM_SOLE), WORD("个人独资企业", FORM_SOLE),
    WORD("总公司", FORM_COMPANY), WORD("公司", FORM_COMPANY), END_OF_WORDS,
};

/* The same in English, behind a space; folded names have neither stops nor commas. */
static const word english_forms[] = {
    WORD(" co ltd", FORM_LIMITED), WORD(" company limited", FORM_LIMITED), WORD(" co limited", FORM_LIMITED),
    WORD(" pte ltd", FORM_LIMITED), WORD(" pty ltd", FORM_LIMITED), WORD(" limited", FORM_LIMITED), WORD(" ltd", FORM_LIMITED),
    WORD(" llc", FORM_LIMITED), WORD(" gmbh", FORM_LIMITED), WORD(" inc", FORM_JOINT_STOCK), WORD(" plc", FORM_JOINT_STOCK),
    WORD(" corp", FORM_JOINT_STOCK), WORD(" llp", FORM_LIMITED_PARTNERSHIP), WORD(" lp", FORM_LIMITED_PARTNERSHIP),
    WORD(" company", FORM_COMPANY), WORD(" co", FORM_COMPANY), END_OF_WORDS,
};

/* Before 公司 these make a part of another company of it. */
static const word parts_of_companies[] = {WORD("分", 1), WORD("支", 1), END_OF_WORDS};

/* A name that ends so is a branch even where no legal form is named. */
static const word branch_words[] = {
    WORD("分公司", 1), WORD("支公司", 1), WORD("分支机构", 1), WORD("分行", 1), WORD("支行", 1), WORD("分店", 1), WORD("分厂", 1),
    WORD("分部", 1), WORD("分社", 1), WORD("分所", 1), WORD("分校", 1), WORD("分院", 1), WORD("分中心", 1), WORD("营业部", 1),
    WORD("办事处", 1), END_OF_WORDS,
};

static const word group_words[] = {WORD("(集团)", 1), WORD("集团", 1), END_OF_WORDS};
static const word bracketed_places[] = {WORD("中国", 1), END_OF_WORDS};

/* What an administrative unit ends with, in the name of a company. Kind 1 may begin the name, 2 stands behind another. */
static const word place_ends[] = {
    WORD("壮族自治区", 1), WORD("回族自治区", 1), WORD("维吾尔自治区", 1), WORD("自治区", 1), WORD("自治州", 1),
    WORD("自治县", 1), WORD("特别行政区", 1), WORD("省", 1), WORD("市", 1), WORD("县", 1), WORD("区", 2), WORD("镇", 2),
    WORD("乡", 2), WORD("旗", 2), END_OF_WORDS,
};

/* --- places that are none: the same characters in other words --- */

static const word no_places[] = {
    WORD("超市", 1), WORD("城市", 1), WORD("都市", 1), WORD("门市", 1), WORD("夜市", 1), WORD("菜市", 1), WORD("集市", 1),
    WORD("股市", 1), WORD("古镇", 1), WORD("景区", 1), WORD("片区", 1), WORD("小区", 2), WORD("社区", 2), WORD("园区", 2),
    WORD("校区", 2), WORD("厂区", 2), WORD("库区", 2), WORD("院区", 2), WORD("家属区", 2), WORD("生活区", 2), WORD("住宅区", 2),
    WORD("宿舍区", 2), WORD("别墅区", 2), END_OF_WORDS,     /* 2: and a community all the same */
};

/* --- addresses --- */

enum address_kind {
    PART_NONE, PART_REGION, PART_ROAD, PART_NUMBER, PART_COMMUNITY, PART_BUILDING, PART_UNIT, PART_FLOOR, PART_ROOM,
    PART_GROUP, PART_LANE
};

/* Behind letters or digits: what they number, and how the word is written for comparison. PART_NUMBER is judged by its place. */
typedef struct {
    word written;
    char32_t compared[3];
    uint8_t compared_size;
} unit_word;

#define ONLY_BEFORE_NO_IDEOGRAPH 0x80     /* beside a kind: 三门峡 has no unit 三门 */
#define UNIT_AS(text, kind, as) {WORD(text, kind), U##as, sizeof(U##as) / sizeof(char32_t) - 1}

static const unit_word unit_words[] = {
    UNIT_AS("号楼", PART_BUILDING, "栋"), UNIT_AS("号栋", PART_BUILDING, "栋"), UNIT_AS("号幢", PART_BUILDING, "栋"),
    UNIT_AS("号座", PART_BUILDING, "栋"), UNIT_AS("幢", PART_BUILDING, "栋"),
    UNIT_AS("座", PART_BUILDING, "栋"), UNIT_AS("栋", PART_BUILDING, "栋"), UNIT_AS("单元", PART_UNIT, "单元"),
    UNIT_AS("门", PART_UNIT | ONLY_BEFORE_NO_IDEOGRAPH, "单元"), UNIT_AS("号室", PART_ROOM, "室"), UNIT_AS("号房", PART_ROOM, "室"),
    UNIT_AS("室", PART_ROOM, "室"), UNIT_AS("房", PART_ROOM | ONLY_BEFORE_NO_IDEOGRAPH, "室"),
    UNIT_AS("户", PART_ROOM | ONLY_BEFORE_NO_IDEOGRAPH, "室"), UNIT_AS("层", PART_FLOOR, "楼"), UNIT_AS("楼", PART_FLOOR, "楼"),
    UNIT_AS("村民小组", PART_GROUP, "组"), UNIT_AS("小组", PART_GROUP, "组"), UNIT_AS("组", PART_GROUP, "组"),
    UNIT_AS("大队", PART_GROUP, "组"), UNIT_AS("队", PART_GROUP, "组"), UNIT_AS("社区", PART_NONE, "社区"),
    UNIT_AS("社", PART_GROUP, "组"), UNIT_AS("弄", PART_LANE, "弄"), UNIT_AS("号院", PART_NUMBER, "号院"),
    UNIT_AS("号", PART_NUMBER, "号"),
    {END_OF_WORDS, U"", 0},
};

/* The unit word that stands at the beginning of the codes; NULL where none does. */
static inline const unit_word *unit_at(const unit_word *units, const uint32_t *codes, int count) {
    for (; units->written.size > 0; units++) {
        int i = 0;
        if (units->written.size > count || units->written.text[0] != codes[0]) continue;
        while (i < units->written.size && units->written.text[i] == codes[i]) i++;
        if (i == units->written.size) return units;
    }
    return NULL;
}

/* Left out behind what they belong to, since a village and its committee are one place; of each so many characters stay. */
static const word committees[] = {
    WORD("村民委员会", 1), WORD("居民委员会", 0), WORD("村委会", 1), WORD("居委会", 0), WORD("街道办事处", 2), END_OF_WORDS,
};

/* Numerals before these count something and become figures; 四川, 九江 and 三门峡 keep theirs. */
static const word counted[] = {
    WORD("号", 1), WORD("栋", 1), WORD("幢", 1), WORD("座", 1), WORD("楼", 1), WORD("单元", 1), WORD("室", 1), WORD("层", 1),
    WORD("户", 1), WORD("房", 1), WORD("组", 1), WORD("小组", 1), WORD("村民小组", 1), WORD("队", 1), WORD("大队", 1),
    WORD("社", 1), WORD("村", 1), WORD("弄", 1), WORD("巷", 1), WORD("路", 1), WORD("街", 1), WORD("段", 1), WORD("期", 1),
    WORD("区", 1), WORD("环", 1), WORD("马路", 1), WORD("大街", 1), WORD("第", 1), WORD("条", 1), WORD("-", 1), END_OF_WORDS,
};

static const word region_ends[] = {
    WORD("特别行政区", 1), WORD("自治区", 1), WORD("自治州", 1), WORD("自治县", 1), WORD("自治旗", 1), WORD("街道", 1),
    WORD("地区", 1), WORD("省", 1), WORD("市", 1), WORD("县", 1), WORD("区", 1), WORD("镇", 1), WORD("乡", 1), END_OF_WORDS,
};

/* Behind 村 these go on with the name of a road: 中关村南大街. */
static const word village_roads[] = {
    WORD("东", 1), WORD("南", 1), WORD("西", 1), WORD("北", 1), WORD("中", 1), WORD("大", 1), WORD("路", 1), WORD("街", 1),
    WORD("道", 1), WORD("巷", 1), END_OF_WORDS,
};

static const word road_ends[] = {
    WORD("胡同", 1), WORD("大道", 1), WORD("大街", 1), WORD("路", 1), WORD("街", 1), WORD("道", 1), WORD("巷", 1), WORD("弄", 1), END_OF_WORDS,
};

/* What a character may begin, or may be, in an address. Several characters share a place, so it may be told too much of one,
   never too little; of most nothing is told, and they need no closer look. */
enum address_sign {
    REGION_END = 1, ROAD_END = 2, COMMUNITY_END = 4, ROAD_SECTION = 8,      /* begins the last word of such a part */
    FIGURE = 16                                                             /* has to do with numbers */
};
#define ENDS_PART (REGION_END | ROAD_END | COMMUNITY_END | ROAD_SECTION)
#define ADDRESS_SIGNS 4096

static inline int signs_of(const uint8_t *signs, uint32_t code) { return signs[code % ADDRESS_SIGNS]; }

static inline void note_words(uint8_t *signs, const word *words, uint8_t sign) {
    for (; words->size > 0; words++) signs[words->text[0] % ADDRESS_SIGNS] |= sign;
}

static inline void note_characters(uint8_t *signs, const char32_t *characters, uint8_t sign) {
    for (; *characters != 0; characters++) signs[*characters % ADDRESS_SIGNS] |= sign;
}

static inline void note_address_signs(uint8_t *signs) {
    note_words(signs, region_ends, REGION_END);
    note_words(signs, road_ends, ROAD_END);
    note_words(signs, no_places, COMMUNITY_END);
    note_characters(signs, U"村", COMMUNITY_END);
    note_characters(signs, U"段", ROAD_SECTION);
    note_characters(signs, U"0123456789〇零一壹二贰三叁四肆五伍六陆七柒八捌九玖十百千", FIGURE);
    note_characters(signs, U"号栋幢座楼室元", FIGURE);      /* 甲栋 is A栋, 甲单元 A单元 */
}

#endif
