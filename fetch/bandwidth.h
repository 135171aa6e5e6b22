/* fetch/bandwidth.h - the link to the servers: its round trip and rate, measured as data comes, and
 * how much may be in flight by them. Pure; times are monotonic microseconds, sizes bytes. */
#ifndef FETCH_BANDWIDTH_H
#define FETCH_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

/* The time from a request to the first byte of its response, beside next to nothing in flight. */
void bandwidth_rtt_seen(int64_t taken, int64_t now);

/* A whole response of `bytes` has come, `taken` after its request, and nothing else meanwhile. */
void bandwidth_answered(uint64_t bytes, int64_t taken);

/* `bytes` have come; `outstanding` more are in flight. */
void bandwidth_received(uint64_t bytes, uint64_t outstanding, int64_t now);

/* Bytes have come that had waited in a socket: how fast they come is not the link's doing. */
void bandwidth_interrupted(void);

/* The bandwidth-delay product, from 16 KiB to 1 MiB: to fetch as much beside a READ costs hardly
 * more time than the READ alone. */
uint64_t bandwidth_per_rtt(void);

/* How many bytes may be in flight while prefetching: enough to keep the link busy, few enough that
 * a READ that arrives now is delayed by at most `queue` milliseconds beyond its round trip; while
 * the rate is still being found, by one more round trip. From 32 KiB to 16 MiB. QUEUE_LONG is for
 * bytes that will surely be read, QUEUE_SHORT for bytes that may be. */
#define QUEUE_LONG  30
#define QUEUE_SHORT 10
uint64_t bandwidth_window(int64_t queue);

/* Whether the rate still proves larger each time that enough is in flight. */
bool bandwidth_is_starting(void);

/* The size of one request while prefetching: a share of the window. */
uint64_t bandwidth_piece(void);

/* Leaves what is measured to the next worker, and takes it: two numbers, 0 where nothing is known.
 */
void bandwidth_keep(volatile uint64_t numbers[2]);
void bandwidth_resume(const volatile uint64_t numbers[2]);

/* The rate and round trip in use: measured, or assumed before the first measurement. */
uint64_t bandwidth_rate(void); /* bytes a second */
uint64_t bandwidth_rtt(void);  /* microseconds */

#endif
