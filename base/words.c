#include "base/words.h"

#include <string.h>

const char *words_find(const uint16_t *numbers, const char *texts, int number)
{
	for (; *texts; texts += strlen(texts) + 1)
		if (*numbers++ == number)
			return texts;
	return NULL;
}
