/* fetch/bandwidth.h - what the way to the servers carries: its round trip and rate, measured as
 * data comes, and what follows from them for asking ahead. Numbers in, numbers out; times are
 * monotonic microseconds.
 */
#ifndef FETCH_BANDWIDTH_H
#define FETCH_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

/* From a request to the first byte of its answer, when nothing else was under way. */
void bandwidth_rtt_seen(int64_t taken, int64_t now);

/* A whole answer of `bytes` has come, so long after its request, and nothing else meanwhile. */
void bandwidth_answered(uint64_t bytes, int64_t taken);

/* `bytes` have come; `outstanding` more are asked for. */
void bandwidth_received(uint64_t bytes, uint64_t outstanding, int64_t now);

/* What the link carries in one round trip (the bandwidth-delay product), in bytes: to fetch so much
 * beside what was asked for costs no more time than asking did. From 16 KiB to 1 MiB. */
uint64_t bandwidth_per_rtt(void);

/* How many bytes may be asked for and not yet here when something is asked for that nobody waits
 * for: the link then is not idle, and who comes to wait now waits for `queue` milliseconds longer
 * than the round trip at most, or for one more round trip while the link is starting. From 32 KiB
 * to 16 MiB.
 *
 * QUEUE_LONG fills the link whatever happens, for what is surely wanted; QUEUE_SHORT is for
 * what may be. */
#define QUEUE_LONG  30
#define QUEUE_SHORT 10
uint64_t bandwidth_window(int64_t queue);

/* The rate is still found to be larger each time that enough was asked for. */
bool bandwidth_is_starting(void);

/* The size of one request of those: a share of the window. */
uint64_t bandwidth_piece(void);

/* What is reckoned with: measured, or assumed before anything was. */
uint64_t bandwidth_rate(void); /* bytes a second */
uint64_t bandwidth_rtt(void);  /* microseconds */

#endif
