/* base/date.h - the calendar of the dates in HTTP and in certificates. */
#ifndef BASE_DATE_H
#define BASE_DATE_H

#include <stdint.h>

/* Days from 1970-01-01 to a day of the Gregorian calendar, from the year 1 on; months and days
 * count from 1. */
int64_t days_since_1970(int year, int month, int day);

/* The day, as "1970-01-31", of a time in seconds since 1970, from the year 1 to 9999. Returns out.
 */
#define DATE_SIZE 24
char *date_text(char out[DATE_SIZE], int64_t seconds);

#endif
