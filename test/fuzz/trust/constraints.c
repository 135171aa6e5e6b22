/* Fuzz harness of constraints.c: name constraints and subject alternative names as a CA or a server
 * makes them up. The first byte is the size of the constraints, the rest are the names. */
#include "base/date.c"
#include "trust/der.c"
#include "trust/constraints.c"

#include <stdlib.h>

/* A copy in memory of its own. */
static struct der copy(const unsigned char *data, size_t size)
{
	return (struct der){memcpy(malloc(size + 1), data, size), size};
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	size_t first = size == 0 ? 0 : data[0] < size ? data[0] : size - 1;
	struct der value, names, name = {NULL, 0};
	unsigned compare = 1000;

	if (size == 0)
		return 0;
	value = copy(data + 1, first);
	names = copy(data + 1 + first, size - 1 - first);
	if (!constraints_fault(value) && !constraints_allow(value, names, &compare, &name) &&
		name.left && (name.at < names.at || name.left > names.left))
		abort();
	if (compare > 1000)
		abort();
	free((void *)value.at);
	free((void *)names.at);
	return 0;
}
