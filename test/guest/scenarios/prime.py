"""--prime: a cache file is linked before the first session."""
import os
import re

from guest.common import (all_right, CACHEFILES, DAEMON, Daemon, expect, linked, mount, prime, program,
                          scenario, umount, URL)


@scenario("--prime: the cache file is in its place before the first session, and that session goes into it",
          True, series=CACHEFILES)
def primed():
    daemon = Daemon(URL)
    point = mount("second.erofs")
    expect(not linked(daemon, "second.erofs"), "this kernel links new files at once: --prime has no use")
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "second.erofs")
    expect(status == 1 and "is mounted" in output, f"--prime of a mounted image: {status}, {output}")
    umount(point)
    prime(daemon, "plain.erofs", "shared1.erofs,domain_id=dom,device=shared.blob")
    for name in "plain.erofs", "shared1.erofs", "shared.blob":
        expect(linked(daemon, name), f"{name} is not in its place")
    point = mount("plain.erofs")
    all_right(point, "plain")
    path, = linked(daemon, "plain.erofs")
    cached, size = os.stat(path).st_blocks * 512, os.path.getsize("www/plain.erofs")
    expect(cached >= size, f"only {cached} of {size} bytes are in the file that lasts")
    umount(point)
    one = mount("shared1.erofs", ",domain_id=dom,device=shared.blob")
    all_right(one, "second")
    umount(one)
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "no-such.erofs", "plain.erofs")
    expect(status == 1 and re.search("no-such.erofs: .*log", output) and "plain" not in output,
           f"--prime of a missing image: {status}, {output}")
    daemon.stop()
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "plain.erofs")
    expect(status == 1 and "start the daemon" in output, f"--prime without a daemon: {status}, {output}")
