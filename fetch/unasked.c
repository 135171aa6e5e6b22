#include "fetch/unasked.h"

#include "base/limits.h"
#include "fetch/file.h"

/* A page's number, below the number of its file. What lies behind the largest one, 1 TiB, is not
 * counted. */
#define PAGE_BITS 28
_Static_assert(DEVICES_MAX <= 1 << (32 - PAGE_BITS), "files of a front end that hears all");

static uint32_t sample[UNASKED_MAX];
static unsigned used;
static unsigned shift; /* one page of 2^shift is in the sample, and stands for all of them */

/* The factor spreads the pages of any range evenly (Knuth, The Art of Computer Programming, 6.4).
 */
static bool is_sampled(uint32_t page)
{
	return (uint64_t)(page * UINT32_C(2654435769)) >> (32 - shift) == 0;
}

static uint64_t *count_of(uint32_t page)
{
	return &files[page >> PAGE_BITS].image->stats.unasked;
}

static void drop(unsigned i)
{
	*count_of(sample[i]) -= page_size() << shift;
	sample[i] = sample[--used];
	if (used == 0)
		shift = 0;
}

/* Leaves a half of the sample, of which each page stands for twice as many. */
static void thin(void)
{
	for (unsigned i = 0; i < used; i++)
		*count_of(sample[i]) += page_size() << shift;
	shift++;
	for (unsigned i = used; i-- > 0;)
		if (!is_sampled(sample[i]))
			drop(i);
}

void unasked_fetched(unsigned file, uint64_t from, uint64_t end)
{
	for (; from < end && from >> PAGE_BITS < page_size(); from += page_size()) {
		uint32_t page = file << PAGE_BITS | (uint32_t)(from / page_size());

		while (is_sampled(page) && used == UNASKED_MAX)
			thin();
		if (!is_sampled(page))
			continue;
		sample[used++] = page;
		*count_of(page) += page_size() << shift;
	}
}

void unasked_read(unsigned file, uint64_t from, uint64_t end)
{
	for (unsigned i = used; i-- > 0;) {
		uint64_t at = (uint64_t)(sample[i] & ((1u << PAGE_BITS) - 1)) * page_size();

		if (sample[i] >> PAGE_BITS == file && at < end && at + page_size() > from)
			drop(i);
	}
}
