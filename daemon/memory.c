#include "daemon/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"

struct budget budget;

static size_t between(size_t least, size_t n, size_t most)
{
	return n < least ? least : n > most ? most : n;
}

static size_t beyond(size_t n, size_t part)
{
	return n > part ? n - part : 0;
}

/* Bytes without the connections. */
static size_t base(const struct budget_costs *costs)
{
	return costs->fixed + budget.files * costs->file + budget.reads * costs->read;
}

bool budget_set(const struct conf *conf, const struct budget_costs *costs, char *why, size_t size)
{
	size_t memory = conf->memory ? (size_t)conf->memory : MEMORY_DEFAULT;
	size_t page = (size_t)getpagesize();
	size_t unit = page > BUFFER_MIN ? page : BUFFER_MIN;
	size_t each, needed;

	budget.files = (unsigned)between(FILES_MIN,
		beyond(memory, MEMORY_MIN - FILES_MIN * MEMORY_PER_FILE) / MEMORY_PER_FILE,
		FILES_MAX);
	budget.reads = READS_PER_FILE * budget.files;
	budget.connections = conf->connections;
	if (!budget.connections)
		budget.connections = (unsigned)between(
			1, beyond(memory, MEMORY_MIN / 2) / MEMORY_PER_CONNECTION, CONNECTIONS_MAX);
	needed = base(costs) + budget.connections * (unit + costs->connection);
	if (!conf->memory && memory < needed + budget.connections * (BUFFER_DEFAULT - unit))
		memory = needed + budget.connections * (BUFFER_DEFAULT - unit);
	if (memory < needed) {
		snprintf(why, size,
			"memory %zu: too little for %u connections, which take %zu with the rest",
			memory, budget.connections, needed);
		return false;
	}
	each = (memory - base(costs)) / budget.connections - costs->connection;
	budget.buffer = between(unit, each / unit * unit, BUFFER_MAX);
	return true;
}
