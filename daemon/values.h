/* daemon/values.h - values of the configuration that are more than a text, a number or a word of
 * ours. Whatever is given is bounded by its NUL alone. */
#ifndef DAEMON_VALUES_H
#define DAEMON_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/peer_info.h"

/* Why a value is wrong. */
extern const char value_too_long[], value_control_byte[];

/* Whether it is a bit mask of 32 bits as the kernel reads one: 10, 0xa or 012. */
bool value_is_mask(const char *text);

/* Whether it is two numbers, either of which may be "-". */
bool value_is_thresholds(const char *text);

/* Whether it is a header field, RFC 9110 sections 5.1 and 5.5. One that request.c writes itself is
 * not taken: then *why is set. */
bool value_is_field(const char *text, const char **why);

/* Takes the base64 of PIN_SIZE bytes in its one form, which has 43 digits. Returns what follows, or
 * NULL. */
const char *value_key_pin(uint8_t out[PIN_SIZE], const char *text);

/* Takes a number of bytes up to a pebibyte: digits, and K, M or G for a power of 1024, or none. */
bool value_bytes(uint64_t *bytes, const char *text);

/* Returns NULL, or why these bytes are no name of an image. */
const char *value_name(const char *name, size_t len);

/* Returns the last word of a text, and the length of what stands before the blanks before it. */
const char *value_last_word(const char *text, size_t *before);

/* Takes the 64 hexadecimal digits of a root hash, with nothing behind them but a colon and the size
 * of the image, as by value_bytes(); *bytes is 0 where it is not given. */
bool value_root(uint8_t root[32], uint64_t *bytes, const char *hex);

#endif
