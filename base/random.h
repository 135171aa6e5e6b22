/* base/random.h - getrandom(2) with the flag for bytes that need not be secret, which alone has
 * some early in a boot without waiting (Linux 5.6). */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <sys/random.h>

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif

#endif
