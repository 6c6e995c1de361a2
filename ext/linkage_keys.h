/* Blocking keys: what two records must have in common to be compared at all.
 *
 * An *atom* is a part of a field that survives some errors: its whole value, the year of a date, each syllable of a name. A
 * *rule* is one atom or two together; a record has a key for each value (or pair of values) of its atoms. Keys are well-mixed
 * hashes of 64 bits; 0 is no key. Each rule has as many places in a row of keys as it can have values.
 *
 * What must not go in here: which rules there are (broker/linkage/blocking.py).
 */
#ifndef BROKER_LINKAGE_KEYS_H
#define BROKER_LINKAGE_KEYS_H

#include "linkage_cells.h"

/* In the order of `broker.linkage.blocking.Atom`. */
typedef enum {
    ATOM_VALUE,
    ATOM_SURNAME,   /* of a name of a person */
    ATOM_SYLLABLES, /* each of them; a character that has none stands for itself */
    ATOM_LETTERS,   /* all letters of a name, in any order */
    ATOM_YEAR,
    ATOM_MONTH_DAY,
    ATOM_STREET,    /* of an address, or its community */
    ATOM_PREFIX,    /* four bytes of a text or code */
    ATOM_SOUND,     /* of a text: its first letter and three consonants, those of like sound as one */
    ATOM_PARTS,     /* the sounds of a given name and a surname, wherever they stand */
    ATOM_BOTH,      /* the sounds of both together, in whatever order */
    ATOM_COUNT
} AtomKind;

#define MOST_ATOMS 32u
#define MOST_RULES 64u
#define MOST_VALUES 4u /* of an atom */
#define MOST_KEYS 128u /* of a record */
#define NO_ATOM 0xFFu

typedef struct {
    uint8_t field, kind; /* a field of the layout, an AtomKind */
} Atom;

typedef struct {
    uint8_t first, second; /* atoms; `second` may be NO_ATOM */
} Rule;

typedef struct {
    Atom atoms[MOST_ATOMS];
    Rule rules[MOST_RULES];
    uint16_t places[MOST_RULES + 1]; /* where the keys of a rule begin in a row */
    uint32_t atom_count, rule_count, keys;
} Plan;

/* Fill `places` and `keys`. 0, or -1 where a rule or an atom names what there is not, or a row has more than MOST_KEYS. */
int plan_places(Plan *plan, const Layout *layout);

/* Write `plan->keys` keys. */
void record_keys(const Plan *plan, const Layout *layout, const Characters *characters, const uint8_t *record, uint64_t *keys);

#endif
