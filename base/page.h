/* base/page.h - pages of memory, which are those of the cache files too, and rounding to them. All
 * numbers are bytes. */
#ifndef BASE_PAGE_H
#define BASE_PAGE_H

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static inline size_t page_size(void)
{
	return (size_t)getpagesize();
}

static inline uint64_t page_down(uint64_t n)
{
	return n & ~(uint64_t)(page_size() - 1);
}

static inline uint64_t page_up(uint64_t n)
{
	return page_down(n + page_size() - 1);
}

/* Up to a multiple of any unit. */
static inline size_t round_to(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

#endif
