/* Fuzz harness of erofs.c: any beginning of a file. Only the superblock may count. */
#include "image/erofs.c"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	unsigned char *head = malloc(size);
	enum erofs_kind kind;

	if (size > 0)
		memcpy(head, data, size);
	kind = erofs_kind(head, size);
	if (kind > EROFS_COMPRESSED)
		abort();
	if (kind != EROFS_NONE &&
		(size < EROFS_HEAD || memcmp(head + MAGIC, "\xe2\xe1\xf5\xe0", 4) != 0))
		abort();
	if (size >= EROFS_HEAD) {
		memset(head, 0xff, MAGIC);
		memset(head + EROFS_HEAD, 0xff, size - EROFS_HEAD);
		if (erofs_kind(head, size) != kind || erofs_kind(head, EROFS_HEAD) != kind)
			abort();
	}
	free(head);
	return 0;
}
