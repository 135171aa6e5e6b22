/* base/fd.h - descriptors: closing one, waiting for some, a small file at once. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef SEEK_DATA /* musl before 1.2.3 */
#define SEEK_DATA 3
#define SEEK_HOLE 4
#endif

/* Closes *fd, if it is one, and makes it -1. Keeps errno. */
void fd_close(int *fd);

/* Opens a file to read it. A device or FIFO does not make it wait. -1: fills why. */
int fd_open(const char *path, char *why, size_t size);

/* Waits until one of `set` is ready, or a signal comes that `mask` (NULL: the process's own) lets
 * through, or the time `until`, at once if that is `now` or earlier, for ever if it is half of
 * INT64_MAX or more. Returns how many are ready; if none, no revents are set. */
int fd_poll(struct pollfd *set, size_t n, int64_t now, int64_t until, const sigset_t *mask);

/* Sends bytes and a descriptor (-1: none) over a local socket, to the address of `to_size` bytes
 * (0: the other end). Never blocks. False and errno: it has not taken them. */
bool fd_send(int socket, const void *to, unsigned to_size, const void *bytes, size_t size, int fd);

/* Waits for a byte with a descriptor, close-on-exec from then on. -1 and errno: there is none;
 * EPIPE where the other end is closed, and the byte where that came alone. */
int fd_receive(int socket);

/* Reads at most the first size - 1 bytes of a file, and puts a NUL behind them. Returns how many
 * these are; -1 and errno when not all could be read. */
ssize_t fd_read_file(const char *path, char *text, size_t size);

/* Writes a number and a newline to a file that is opened with these flags. False and errno: it
 * cannot be. */
bool fd_write_number(const char *path, int flags, long number);

#endif
