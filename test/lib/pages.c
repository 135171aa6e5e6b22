/* pages.c - linked into the daemon that test/scenarios/pages.py runs: the size of a page is the
 * environment's PAGE_SIZE. */
#include <stdlib.h>

int __wrap_getpagesize(void);

int __wrap_getpagesize(void)
{
	return atoi(getenv("PAGE_SIZE"));
}
