/* The numbering of code points: counted, the most frequent first. See `matching_corpus.h`.
 *
 * What must not go in here: the layout of texts.
 */
#include "matching_corpus.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t at; /* where in the pages */
    uint32_t times;
} Frequency;

static int add_page(Alphabet *alphabet, uint32_t page)
{
    uint32_t *grown = realloc(alphabet->pages, sizeof *grown * PAGE * (alphabet->page_count + 1));
    if (grown == NULL)
        return -1;
    memset(grown + (size_t)PAGE * alphabet->page_count, 0, sizeof *grown * PAGE);
    alphabet->pages = grown;
    alphabet->page_of[page] = (uint16_t)alphabet->page_count++;
    return 0;
}

/* Pages hold how often each code point was seen; a count that is full stays full. */
static int count_text(Alphabet *alphabet, const Text *text)
{
    for (uint32_t i = 0; i < text->length; i++) {
        uint32_t code_point = code_point_at(text, i);
        if (alphabet->page_of[code_point / PAGE] == 0 && add_page(alphabet, code_point / PAGE) != 0)
            return -1;
        uint32_t *times = alphabet->pages + (size_t)alphabet->page_of[code_point / PAGE] * PAGE + code_point % PAGE;
        *times += *times != UINT32_MAX;
    }
    return 0;
}

static int by_falling_times(const void *left, const void *right)
{
    const Frequency *a = left, *b = right;
    if (a->times != b->times)
        return a->times > b->times ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

static uint32_t collect(Frequency *seen, const Alphabet *alphabet)
{
    uint32_t count = 0;
    for (uint32_t at = PAGE; at < PAGE * alphabet->page_count; at++)
        if (alphabet->pages[at] != 0)
            seen[count++] = (Frequency){at, alphabet->pages[at]};
    return count;
}

/* Turn counts into symbols: 0..62 and then from 64 on, for 63 is PAD. */
static int number(Alphabet *alphabet)
{
    size_t cells = (size_t)PAGE * alphabet->page_count;
    Frequency *seen = malloc(sizeof *seen * cells);
    if (seen == NULL)
        return -1;
    uint32_t count = collect(seen, alphabet);
    qsort(seen, count, sizeof *seen, by_falling_times);
    memset(alphabet->pages, 0xFF, sizeof *alphabet->pages * cells); /* ABSENT */
    for (uint32_t i = 0; i < count; i++)
        alphabet->pages[seen[i].at] = i + (i >= PAD);
    alphabet->size = count < NEAR ? NEAR : count + 1;
    free(seen);
    return 0;
}

int alphabet_of(Alphabet *alphabet, const Text *texts, size_t count)
{
    memset(alphabet, 0, sizeof *alphabet);
    alphabet->pages = calloc(PAGE, sizeof *alphabet->pages);
    if (alphabet->pages == NULL)
        return -1;
    alphabet->page_count = 1;
    int failed = 0;
    for (size_t i = 0; i < count && !failed; i++)
        failed = count_text(alphabet, &texts[i]);
    if (!failed)
        failed = number(alphabet);
    if (failed)
        alphabet_free(alphabet);
    return failed;
}

void alphabet_free(Alphabet *alphabet)
{
    free(alphabet->pages);
    alphabet->pages = NULL;
}
