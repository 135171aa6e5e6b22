"""Privileges, hostile names, a second daemon."""
import ctypes
import os
import re
import signal

from guest.common import (all_right, CA, CACHEFILES, Child, contents, Daemon, drop_caches, expect, mount, NBD,
                          nginx, program, RUN, scenario, serving, umount, URL, URL_TLS)


def status_of(pid):
    """The lines of /proc/PID/status by their names."""
    return dict(line.split(":\t", 1) for line in contents(f"/proc/{pid}/status").splitlines() if ":\t" in line)


# Of these the last one, CAP_SYS_ADMIN, is what the kernel's NBD demands.
KEEPER_CAPABILITIES = 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | NBD << 21
HOSTILE_NAMES = ["..", ".", "../second.erofs", "a/../../second.erofs", "/etc/passwd", "\x01\x1b[31m\n", "%2e%2e/x",
                 "name with blanks", "\u00e4" * 100, "n" * 200, "-o", "second.erofs?x", "second.erofs#x", "\\\\..\\x"]


@scenario("user NAME: the worker is that user, no process has a capability that it does not need, no core dump",
          differs=True)
def least_privilege():
    with serving("second.erofs", URL_TLS, CA, "user nobody") as (daemon, point):
        all_right(point, "second")
        folder = os.readlink(f"/proc/{daemon.culler()}/cwd")
        expect(folder == daemon.directory + "/cache" * (not NBD), f"the culler is in {folder}")
        for pid, uid, allowed in ((daemon.process.pid, 0, KEEPER_CAPABILITIES), (daemon.worker(), 65534, 0),
                                  (daemon.culler(), 0, 0)):
            status = status_of(pid)
            expect(set(status["Uid"].split()) == {str(uid)}, f"uids {status['Uid']}")
            for name in "CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb":
                expect(int(status[name], 16) & ~allowed == 0, f"{name} of uid {uid} is {status[name]}")
            expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", f"uid {uid}: {status}")
            expect(re.search(r"^Max core file size +0 +0 ", contents(f"/proc/{pid}/limits"), re.M), "core dumps")
            expect(os.stat(f"/proc/{pid}/mem").st_uid == 0, f"uid {uid} is dumpable")
        os.kill(daemon.worker(), signal.SIGKILL)
        drop_caches()
        all_right(point, "second", "random")
        worker = daemon.worker()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_worker(worker)
        expect(status_of(daemon.worker())["Uid"].split()[0] == "65534", "the next worker is another user")


@scenario("hostile image names: none mounts, hangs, forges a log line or leaves the cache", True, series=CACHEFILES)
def hostile_names():
    daemon = Daemon(URL, "timeout 2")
    outside = set(os.listdir("/run/disk"))
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(f"{RUN}/mnt/hostile", exist_ok=True)
    for name in HOSTILE_NAMES:
        for domain in b"", b",domain_id=dom":
            data = b"fsid=" + name.encode() + domain
            done = Child(lambda: str(libc.mount(b"none", f"{RUN}/mnt/hostile".encode(), b"erofs", 1, data)))
            expect(done.answer(20) == "-1", f"{name!r} was mounted")
    expect(set(os.listdir("/run/disk")) == outside, "something is beside the cache")
    expect(set(os.listdir(daemon.directory)) <= {"cache", "graveyard", "cachefilesd-mini"}, "something is in it")
    with open(daemon.log_path, "rb") as file:
        log = file.read()
    expect(all(32 <= byte < 127 or byte == 10 for byte in log), "a control byte is in the log")
    expect(all(line.startswith(b"cachefilesd-mini: ") for line in log.splitlines()), "a forged line is in the log")
    expect(not re.search(r"/\.\.?[/ ]", contents(nginx.log)), "the server was asked for a path that climbs")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("a second daemon: exit status 1, and its message names the holder of the device", differs=True)
def second_daemon():
    daemon = Daemon(URL)
    status, output = program(*daemon.command, limit=10)
    expect(status == 1, f"the second daemon ended with {status}: {output}")
    expect(re.search(rf"\b{daemon.process.pid}\b", output), f"no pid of the holder in: {output}")
    daemon.stop()
