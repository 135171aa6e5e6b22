/* kernel/prime.h - --prime: makes the cache files of images permanent before they are used.
 *
 * The kernel links a new cache file into the cache only when its image is unmounted: what a first
 * session fetches is lost with the machine (fs/cachefiles/namei.c, cachefiles_commit_tmpfile). So
 * each image is mounted and unmounted here, by the running daemon, without a place in the file
 * tree. What is fetched from then on stays.
 */
#ifndef KERNEL_PRIME_H
#define KERNEL_PRIME_H

/* Each name, NULL behind the last, is "FSID[,OPTION=VALUE...]", the options those of mount -t erofs
 * -o, such as domain_id. `dir` is the cache directory. Returns the exit status; failures have been
 * logged by name. */
int prime_run(const char *dir, char *const *names);

/* Mounts such an image and unmounts it. Returns 0 or a positive errno: ENODEV, EINVAL or ENOTBLK if
 * this kernel's EROFS has no on-demand mode. */
int prime_visit(const char *name);

#endif
