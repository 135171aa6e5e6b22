#include "daemon/memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/page.h"

struct capacity capacity;

static size_t beyond(size_t n, size_t part)
{
	return n > part ? n - part : 0;
}

/* Bytes without the connections. */
static size_t base(const struct memory_costs *costs)
{
	return costs->fixed + capacity.files * costs->file + capacity.reads * costs->read +
	       capacity.extents * costs->extent;
}

/* Bytes for each connection's buffer. */
static size_t buffer_room(const struct memory_costs *costs, size_t memory)
{
	return (memory - base(costs)) / capacity.connections - costs->connection;
}

static void set_files(unsigned files)
{
	capacity.files = files;
	capacity.reads = READS_PER_FILE * files;
}

bool memory_divide(
	const struct conf *conf, const struct memory_costs *costs, char *why, size_t size)
{
	size_t memory = conf->memory ? (size_t)min_u64(conf->memory, SIZE_MAX) : MEMORY_DEFAULT;
	size_t page = (size_t)getpagesize();
	size_t unit = page > BUFFER_MIN ? page : BUFFER_MIN;
	/* A TLS handshake, and a page that is not complete yet; always whole pages. */
	size_t least = page > BUFFER_MIN ? page : BUFFER_MIN + page;
	unsigned files_min = costs->files > FILES_MIN ? costs->files : FILES_MIN;
	size_t each, needed;

	capacity.extents = memory < MEMORY_WITH_MAP ? 0 : MAP_EXTENTS;
	set_files((unsigned)clamp_u64(
		beyond(memory, MEMORY_MIN + capacity.extents * costs->extent + costs->given_way -
				       FILES_MIN * MEMORY_PER_FILE) /
			MEMORY_PER_FILE,
		files_min, FILES_MAX));
	capacity.connections = conf->connections;
	if (!capacity.connections)
		capacity.connections = (unsigned)clamp_u64(
			beyond(memory, MEMORY_MIN / 2) / MEMORY_PER_CONNECTION, 1, CONNECTIONS_MAX);
	needed = base(costs) + capacity.connections * (unit + costs->connection);
	/* A program with the sanitizers is larger than the default. */
	if (!conf->memory && (conf->connections || memory < needed) &&
		memory < needed + capacity.connections * (BUFFER_DEFAULT - unit))
		memory = needed + capacity.connections * (BUFFER_DEFAULT - unit);
	if (memory < needed)
		return fail(why, size,
			"memory %zu: too little for %u connections and %u images, which take %zu "
			"with the rest",
			memory, capacity.connections, capacity.files, needed);
	/* Open images give way where the program is larger than on most machines. */
	while ((each = buffer_room(costs, memory)) < least && !conf->memory &&
		capacity.files > files_min)
		set_files(capacity.files - 1);
	capacity.buffer = clamp_u64(each / unit * unit, unit, BUFFER_MAX);
	if (capacity.buffer < least && each >= least)
		capacity.buffer = least;
	return true;
}

bool memory_lock(const char *end, const void *sparse, size_t size)
{
	extern const char __executable_start[]; /* the linker's */
	const char *hole = size ? sparse : end, *behind = hole + size;

	return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0 &&
	       mlock(__executable_start, (size_t)(hole - __executable_start)) == 0 &&
	       (!size || mlock(behind, (size_t)(end - behind)) == 0);
}

size_t memory_untouched(const void *sparse, size_t size)
{
	const char *begin = (const char *)(uintptr_t)page_up((uintptr_t)sparse);
	const char *end = (const char *)(uintptr_t)page_down((uintptr_t)sparse + size);
	size_t untouched = 0;

	for (const char *page = begin; page < end; page += page_size())
		if (*page == 0 && memcmp(page, page + 1, page_size() - 1) == 0)
			untouched += page_size();
	return untouched;
}
