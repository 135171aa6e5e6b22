#include "tools/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/print.h"
#include "net/url.h"

static bool json;
static const char *between = ""; /* goes before the next JSON member */
static int status;		 /* to exit with */

/* Not in the program's own memory, all of which a worker locks. */
static struct texts {
	char warnings[600], verdict[600]; /* verdict: empty: all is fit */
} * texts;
_Static_assert(sizeof(struct texts) <= REPORT_MEMORY, "its memory");

void report_init(bool as_json, void *memory)
{
	json = as_json;
	texts = memory;
}

bool report_is_json(void)
{
	return json;
}

void report_json(const char *brackets, bool first)
{
	if (json)
		print("%s", brackets);
	between = first ? "" : ",";
}

static void print_escaped(const char *text)
{
	for (; *text; text++) {
		if (json && (*text == '"' || *text == '\\'))
			print("\\");
		print("%c", *text < ' ' || *text > '~' ? '?' : *text);
	}
}

void report_member(const char *name)
{
	print("%s", between);
	between = ",";
	if (!name)
		return;
	print("\"");
	for (; *name; name++)
		print("%c", *name == ' ' ? '_' : *name);
	print("\":");
}

void report_say(const char *name, const char *format, ...)
{
	char text[URL_MAX + 512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (json)
		report_member(name);
	else
		print("%s:%*s", name, 14 - (int)strlen(name), "");
	print(json ? "\"" : "");
	print_escaped(text);
	print(json ? "\"" : "\n");
	print_flush();
}

void report_number(const char *name, int64_t n)
{
	if (!json)
		return;
	report_member(name);
	print("%lld", (long long)n);
}

void report_judge(int exit_status, const char *format, ...)
{
	size_t used = exit_status ? 0 : strlen(texts->warnings);
	char *out = exit_status ? texts->verdict : texts->warnings;
	va_list args;

	if (exit_status)
		status = exit_status;
	if (used > 0 && used + 2 < sizeof(texts->warnings)) {
		strcpy(out + used, "; ");
		used += 2;
	}
	va_start(args, format);
	vsnprintf(out + used, sizeof(texts->warnings) - used, format, args);
	va_end(args);
}

int report_end(uint64_t received, uint64_t measured)
{
	const char *warnings = status == 1 ? "" : texts->warnings;
	char text[sizeof(*texts) + 8];

	snprintf(text, sizeof(text), "%s%s%s",
		texts->verdict[0] ? texts->verdict : "fit for cachefilesd-mini",
		*warnings ? ", but: " : "", warnings);
	if (!json) {
		print("verdict: ");
		print_escaped(text);
		print(" (fetched %llu bytes, %llu of them only for the throughput)\n",
			(unsigned long long)received, (unsigned long long)measured);
		return status;
	}
	report_say("verdict", "%s", text);
	report_number("received bytes", (int64_t)received);
	report_number("throughput bytes", (int64_t)measured);
	report_number("exit status", status);
	print("}\n");
	return status;
}
