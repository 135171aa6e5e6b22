/* image/before.h - the version that came before one of an image: what was opened last under the
 * same name, or under another version's. Blocks that both have can be taken from its cache file,
 * which is only believed as far as the new version's root hash vouches for each block. */
#ifndef IMAGE_BEFORE_H
#define IMAGE_BEFORE_H

#include <stdbool.h>
#include <stdint.h>

#include "image/state.h"

struct before {
	uint64_t key; /* of its image: opened_files_key() of handover.h */
	struct state state;
};

/* Of an image that is not remembered, looks among those that are, and were verified, for the one
 * that was opened last and whose name fits `pattern`, in which the first '*' stands for any bytes;
 * empty: whose name differs only in digits. Writes the name of its file (state.h). False: there is
 * none. */
bool before_find(char name[STATE_NAME], struct state_key key, const char *pattern);

#endif
