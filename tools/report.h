/* tools/report.h - the report of --check: lines "name: value", or the members of a JSON object.
 * Whatever is not printable ASCII is written as '?'. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

/* Once, before all else. `memory` has REPORT_MEMORY bytes, all zero. */
#define REPORT_MEMORY 1200
void report_init(bool json, void *memory);

bool report_is_json(void);

/* Prints JSON's brackets, in JSON only; what comes next is the first behind them, or not. */
void report_json(const char *brackets, bool first);

/* A member of the JSON object, or without a name of a list; its value follows. */
void report_member(const char *name);

/* A line "name: text", or a string in JSON. Names have up to 13 bytes, in JSON '_' for a blank. */
__attribute__((format(printf, 2, 3))) void report_say(const char *name, const char *format, ...);

/* For programs only, which get it beside or instead of the text. */
void report_number(const char *name, int64_t n);

/* Why the server or the file is not fit: the verdict, and the exit status, of which the last one
 * counts. With the status 0 something that the verdict has to mention though all is fit. */
__attribute__((format(printf, 2, 3))) void report_judge(int exit_status, const char *format, ...);

/* The verdict, with which all ends. Returns the exit status. `received` are all bytes of bodies,
 * `measured` those that only the throughput needed. */
int report_end(uint64_t received, uint64_t measured);

#endif
