/* Fuzz harness of exposition.c: whatever answers at the status socket. A text that is taken has no
 * byte that a terminal or JSON would stumble over, and lies in the input; an input that is cut is
 * refused. */
#include "tools/exposition.c"

#include <stdlib.h>

#define ROOM 64

static const char *begin, *end;

static void check_text(const char *text, const char *set)
{
	if (text < begin || text + strlen(text) >= end)
		abort();
	for (; *text; text++)
		if (*text < ' ' || *text > '~' || (set && !strchr(set, *text)))
			abort();
}

/* As in JSON: each '\' has one of its own behind it, and no quote stands alone. */
static void check_quoted(const char *text)
{
	check_text(text, NULL);
	for (; *text; text++) {
		if (*text == '"')
			abort();
		if (*text == '\\' && (!*++text || !strchr("\\\"n", *text)))
			abort();
	}
}

static void check_metric(const struct metrics *all, const struct metric *m)
{
	check_text(m->name, "abcdefghijklmnopqrstuvwxyz_");
	check_text(m->value, "0123456789.");
	if (!*m->value || !*m->name)
		abort();
	for (size_t i = 0; i < METRIC_LABELS && m->label[i].name; i++) {
		check_text(m->label[i].name, "abcdefghijklmnopqrstuvwxyz_");
		check_quoted(m->label[i].value);
	}
	metric_number(m, 6);
	if (!metric_is_of(m, m) || !metric_find(all, "x", m) != !metric_find(all, "x", m))
		abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct metric table[ROOM];
	struct metrics all = {.metric = table, .max = ROOM};
	char *text = malloc(size + 1);
	bool good;

	memcpy(text, data, size);
	text[size] = '\0';
	begin = text;
	end = text + size;
	good = metrics_parse(&all, text) == 0;
	if (all.count > all.max)
		abort();
	for (size_t i = 0; good && i < all.count; i++)
		check_metric(&all, &table[i]);
	if (good) {
		memcpy(text, data, size);
		text[strlen(text) - 1] = '\0';
		if (metrics_parse(&all, text) == 0)
			abort();
	}
	free(text);
	return 0;
}
