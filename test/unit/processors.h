/* processors.h - what the unit tests of code for certain processors share: a processor that hides
 * what it has, random bytes, and memory between pages without access. Include it before the
 * source under test. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __aarch64__
#include <sys/auxv.h>

static unsigned long hidden; /* bits of AT_HWCAP */

static unsigned long visible_getauxval(unsigned long type)
{
	return getauxval(type) & ~hidden;
}
#define getauxval visible_getauxval
#endif

static unsigned next_random(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 16);
}

/* `size` bytes or more, to whole pages, between two pages without access; *end is their end. */
static uint8_t *make_zone(size_t size, uint8_t **end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *zone;

	size = (size + page - 1) / page * page;
	zone = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zone == MAP_FAILED || mprotect(zone + page, size, PROT_READ | PROT_WRITE) < 0)
		abort();
	*end = zone + page + size;
	return zone + page;
}
