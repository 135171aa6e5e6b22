/* Fuzz harness of metric.c: whatever answers at the status socket. What is taken holds no byte that
 * a terminal or JSON would stumble over, and lies in the text; a text that is cut is none. */
#include "tools/exposition.c"

#include <stdlib.h>

#define ROOM 64

static const char *begin, *end;

static void check_slice(struct slice s, const char *set)
{
	if (s.at < begin || s.at + s.size > end)
		abort();
	for (size_t i = 0; i < s.size; i++)
		if (s.at[i] < ' ' || s.at[i] > '~' || (set && !strchr(set, s.at[i])))
			abort();
}

/* As in JSON: each '\' has one of its own behind it, and no quote stands alone. */
static void check_quoted(struct slice s)
{
	check_slice(s, NULL);
	for (size_t i = 0; i < s.size; i++) {
		if (s.at[i] == '"')
			abort();
		if (s.at[i] == '\\' && (++i == s.size || !strchr("\\\"n", s.at[i])))
			abort();
	}
}

static void check_sample(const struct metrics *all, const struct metric *s)
{
	check_slice(s->name, "abcdefghijklmnopqrstuvwxyz_");
	check_slice(s->value, "0123456789.");
	if (s->value.size == 0 || s->name.size == 0)
		abort();
	for (size_t i = 0; i < METRIC_LABELS && s->label[i].name.at; i++) {
		check_slice(s->label[i].name, "abcdefghijklmnopqrstuvwxyz_");
		check_quoted(s->label[i].value);
	}
	metric_number(s, 6);
	if (!metric_is_of(s, s) || !metric_find(all, "x", s) != !metric_find(all, "x", s))
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
		check_sample(&all, &table[i]);
	if (good) {
		text[strlen(text) - 1] = '\0';
		if (metrics_parse(&all, text) == 0)
			abort();
	}
	free(text);
	return 0;
}
