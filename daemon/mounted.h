/* daemon/mounted.h - how many images are mounted, as far as the keeper can see. */
#ifndef DAEMON_MOUNTED_H
#define DAEMON_MOUNTED_H

/* Once, at the start. */
void mounted_init(void);

unsigned mounted_count(void);

#endif
