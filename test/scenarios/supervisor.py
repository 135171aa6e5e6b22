"""The keeper: its worker dies, it is reloaded, it is upgraded."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from lib import tap
from lib.machines import Target
from scenarios.common import (KIB, MIB, Program, Server, StandIn, daemon, each, fails, got, image, kill_worker,
                              need, recovers, refused, reload, reported, scenario, serving, still_serves, takes_long)


@scenario
def worker_killed():
    """the worker is killed: READs that wait are delivered to the next, files are opened anew with the same size"""
    data = image(1, MIB)
    with serving(data) as (s, k, f):
        size = f.size
        for n in range(5):
            s.default["delay"] = 1000
            r = k.read(f, n * 128 * KIB + 64 * KIB, 4096)
            k.wait_taken(r)
            kill_worker(k)
            s.default["delay"] = 0
            s.stop()
            s.start()
            got(k, r, data, 15)
            assert f.size == size, f"{f.size}, at first {size}"
        need(k, f, data, 0, MIB)
        k.closed(f)


@scenario
def worker_killed_in_an_outage():
    """... while the server is away: READs fail after the time-out, none hangs, and all is well when it is back"""
    data = image(1, MIB)
    with serving(data, "timeout 1") as (s, k, f):
        s.stop()
        kill_worker(k)
        for n in range(3):
            fails(k, f, n * 128 * KIB + 512 * KIB, 4096, 8)
        s.start()
        recovers(k, f, data, 512 * KIB, 4096, 12)
        need(k, f, data, 0, MIB)
        k.closed(f)


@each("old", "v8")
def worker_killed_without_restore(way):
    """... by a kernel that has no "restore": an OPEN that waited is answered, the next one is served"""
    data = image(1, MIB)
    layout = "v8" if way == "v8" else "mainline"
    with Server({"/img": data, "/slow": data}) as s, daemon(s, old=True, layout=layout) as k:
        k.wait_log("cannot hand its requests to another worker")
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        s.default["delay"] = 1000
        waits = k.open("erofs,slow", b"slow")
        k.wait_taken(waits.open_request)
        kill_worker(k)
        k.wait_log("images that were mounted before cannot be read any more")
        s.default["delay"] = 0
        s.stop()
        s.start()
        assert k.wait_copen(waits) < 0
        again = k.opened("erofs,again", b"img")
        need(k, again, data, 0, 4096)


@scenario
def worker_dies_at_once():
    """a worker that dies again and again is followed by the next later and later, and the log says of what"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s) as k:
        k.wait(lambda: k.worker, 10, "a worker")
        for _ in range(4):
            kill_worker(k, signal.SIGABRT)
        k.wait_log(r"died again \(signal 6\): a new one takes its place in 400 ms")
        still_serves(k, s)


@scenario
def more_images_than_memory_over_deaths():
    """workers are killed, and images unmounted meanwhile without a CLOSE: the next worker still serves"""
    if Program.has_sanitizers:
        raise tap.Skip("a sanitizer takes more than the least memory")
    data = image(1, 5000)
    with Server() as s, daemon(s, "memory 576K") as k:
        s.images = {f"/i{n}": data for n in range(24)}
        for turn in range(3):
            files = [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(8 * turn, 8 * turn + 8)]
            kill_worker(k)
        need(k, files[0], data, 0, 5000)


@scenario
def more_files_opened_anew_than_the_table():
    """... and others were mounted before the old ones are read again: all are read, none is asked for in a circle"""
    if Program.has_sanitizers:
        raise tap.Skip("a sanitizer takes more than the least memory")
    data = image(1, 64 * KIB)
    with Server() as s, daemon(s, "memory 576K") as k:
        s.images = {f"/i{n}": data for n in range(12)}
        files = [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(8)]
        kill_worker(k)
        files += [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(8, 12)]
        for offset in 0, 16 * KIB:
            for f in files:
                need(k, f, data, offset, 4096)


@contextlib.contextmanager
def configured():
    """An image, a configuration file with its server, the daemon, and the file that it has opened for the image."""
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write(f"url {s.url}\n")
        with daemon("-d", options=["-f", path]) as k:
            yield data, path, k, k.opened("erofs,img", b"img")


@scenario
def worker_killed_while_the_next_cannot_read():
    """... while the next one, after SIGHUP, waits for its configuration: it is not waited for"""
    with configured() as (data, path, k, f):
        os.remove(path)
        os.mkfifo(path)     # like a root file system that hangs
        k.signal(signal.SIGHUP)
        time.sleep(0.5)
        kill_worker(k, timeout=20)
        need(k, f, data, 65536, 4096)


@scenario
def reloaded_from_a_file_that_is_gone():
    """after SIGHUP nothing is read any more, by the keeper neither: the next worker has what that one has read"""
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server() as old, Server({"/img": data}) as new:
        path = os.path.join(folder, "conf")
        os.mkfifo(path)         # each open() for reading waits for its writer, as on a root that hangs

        def give(server):
            with open(path, "w") as file:
                file.write(f"url {server.url}\n")

        with daemon("-d", options=["-f", path]) as k:
            give(old)
            refused(k, k.open("erofs,img", b"img"))
            before = k.worker
            k.signal(signal.SIGHUP)
            give(new)
            k.wait(lambda: k.worker != before, 10, "another worker")
            k.wait_log("reloaded: ")
            f = k.opened("erofs,img", b"img")
            for n in range(3):
                kill_worker(k)
                need(k, f, data, 65536 * n, 4096)
            before = k.worker
            k.signal(signal.SIGHUP)
            give(old)
            k.wait(lambda: k.worker != before, 10, "another worker")
            kill_worker(k)
            refused(k, k.open("erofs,two", b"two"))


@scenario
@takes_long
def reload_that_hangs():
    """SIGHUP with a file that cannot be read: given up in time, in which the old worker serves; the next one works"""
    with configured() as (data, path, k, f):
        before = k.worker
        os.rename(path, path + ".good")
        os.mkfifo(path)
        k.signal(signal.SIGHUP)
        need(k, f, data, 65536, 4096)
        k.wait_log("not reloaded: .*: the earlier configuration stays in force", 15)
        assert k.worker == before
        os.rename(path + ".good", path)
        reload(k)
        need(k, f, data, 131072, 4096)
        with open(path, "w") as file:
            file.write("nonsense\n")
        k.signal(signal.SIGHUP)
        k.wait_log(r"not reloaded: exit status 2: the earlier")
        kill_worker(k)
        need(k, f, data, 196608, 4096)


@scenario
def holder_killed():
    """the process that holds a reloaded configuration is killed: the log says so, and it is read again"""
    with configured() as (data, path, k, f):
        reload(k)

        def others():
            with open(f"/proc/{k.pid}/task/{k.pid}/children") as file:
                return {int(pid) for pid in file.read().split()} - {k.worker}

        k.wait(lambda: len(others()) == 1, 10, "the end of the worker before")
        holder, before = others().pop(), k.worker
        os.kill(holder, signal.SIGKILL)
        k.wait_log(r"holds the configuration has died \(signal 9\): it is read again")
        k.wait(lambda: k.worker != before, 10, "another worker")
        kill_worker(k)
        need(k, f, data, 65536, 4096)


@scenario
def upgraded():
    """SIGUSR2: the program that lies there now goes on in the cache that is bound; a bad configuration is refused"""
    if Target.emulator:
        raise tap.Skip("the keeper would become a program of that machine")
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        program, path = os.path.join(folder, "program"), os.path.join(folder, "conf")
        shutil.copy(Program.path, program)

        def configure(*lines):
            with open(path, "w") as file:
                file.write("".join(f"{line}\n" for line in (f"url {s.url}", "trace none", *lines)))

        with open(f"{folder}/netrc", "w") as file:      # others may read it: a warning before the verdict
            file.write("machine x login y password z\n")
        os.chmod(f"{folder}/netrc", 0o644)
        configure(f"dir {folder}", "status none")
        with StandIn([program, "-n", "-s", "--force", "-f", path]) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            for turn, directory in enumerate((folder, "/nonexistent")):
                shutil.copy(Program.path, program + ".new")
                os.rename(program + ".new", program)
                configure(f"dir {directory}", "status none", f"netrc {folder}/netrc")
                before = k.worker
                k.signal(signal.SIGUSR2)
                k.wait(lambda: k.worker != before, 20, "another worker")
                need(k, f, data, 65536 * (turn + 1), 4096)
            k.wait_log(f"dir /nonexistent: not in force: the cache in {folder} is bound")
            before = k.worker
            configure("memory 576K", "connections 16")
            k.signal(signal.SIGUSR2)
            k.wait_log("upgrade: .*: memory 589824: too little for 16 connections and .*: all stays as it was")
            assert k.worker == before
            kill_worker(k)
            need(k, f, data, 196608, 4096)
            assert k.stderr.count("upgrade: going on as") == 2, k.stderr


@each("leaves a child behind", "never ends", "says too much")
def upgrade_to_something_else(what):
    """... is refused in time, and uses no processor time; all goes on"""
    script = {"leaves a child behind": "(read x <PIPE) & exit 0", "never ends": "read x <PIPE",
              "says too much": "while :; do echo much much much much; done"}[what]
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        program, pipe = os.path.join(folder, "program"), os.path.join(folder, "pipe")
        os.mkfifo(pipe)
        shutil.copy(Program.path, program)
        argv = [program, "-n", "-s", "--force", "-o", "trace none", "-o", "status none", "-o", "dir {cache}", s.url]
        with StandIn(argv) as k:
            f = k.opened("erofs,img", b"img")
            with open(program + ".new", "w") as file:
                file.write("#!/bin/sh\n" + script.replace("PIPE", pipe) + "\n")
            os.chmod(program + ".new", 0o755)
            os.rename(program + ".new", program)
            k.signal(signal.SIGUSR2)
            try:
                time.sleep(0.5)
                used = time.clock_gettime((~k.pid << 3) | 2)
                kill_worker(k)
                need(k, f, data, 65536, 4096)
                k.wait_log("upgrade: .*: all stays as it was", 5 if what == "leaves a child behind" else 15)
                used = time.clock_gettime((~k.pid << 3) | 2) - used
                assert used < 0.5, f"the keeper has used {used:.1f} s"
            finally:
                with contextlib.suppress(OSError):      # ends a process that still reads it
                    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


@each("new", "old", "old and not bound yet")
def device_handed_over(kernel):
    """-F: a device that is open, and may be bound, also by a kernel without "restore": new mounts are served"""
    if Target.emulator:
        raise tap.Skip("the process that starts it is no program of that machine")
    start = ("import os, sys; device = os.open('/dev/cachefiles', os.O_RDWR); os.set_inheritable(device, True); "
             "[os.write(device, x.encode()) for x in sys.argv[1].split(',') if x]; "
             "os.execv(sys.argv[2], sys.argv[2:] + ['-F', str(device)])")
    data, bound = image(1, 300000), kernel in ("new", "old")
    with Server({"/img": data}) as s:
        argv = [sys.executable, "-c", start, "dir {cache},bind ondemand" if bound else "", Program.path, "-n", "-s",
                "--force", "-o", "trace none", "-o", "status none", "-o", "dir {cache}", s.url]
        with StandIn(argv, old=kernel != "new") as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 65536, 4096)
            assert bool(re.search("the device that was handed over is bound", k.stderr)) == bound, k.stderr
            lost = re.search("images that were mounted before cannot be read any more", k.stderr)
            assert bool(lost) == (bound and kernel == "old"), k.stderr


@scenario
def reloaded_with_another_dir():
    """SIGHUP with another `dir`: culling stays in the one that was bound"""
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        path, dirs = os.path.join(folder, "conf"), [os.path.join(folder, name) for name in ("bound", "other")]
        for directory in dirs:
            os.makedirs(os.path.join(directory, "cache"))

        def configure(directory):
            with open(path, "w") as file:
                file.write(f"url {s.url}\ndir {directory}\n")

        def culls_there():
            try:
                children = k.proc(f"task/{k.worker}/children").split()
                return [os.readlink(f"/proc/{child}/cwd") for child in children] == [dirs[0] + "/cache"]
            except (FileNotFoundError, ProcessLookupError):     # it has ended, another takes its place
                return False

        configure(dirs[0])
        with StandIn([Program.path, "-n", "-s", "--force", "-f", path, "-o", "trace none", "-o", "status none"]) as k:
            k.opened("erofs,img", b"img")
            k.wait(culls_there, 5, "a culler in the cache")
            for _ in range(2):      # the second time the keeper holds the configuration
                configure(dirs[1])
                reload(k)
                k.wait(culls_there, 5, "a culler in the cache")
                k.wait_log(f"dir {dirs[1]}: not in force: the cache in {dirs[0]} is bound")
            k.signal(signal.SIGHUP)
            kill_worker(k)
            k.wait(culls_there, 5, "a culler in the cache")
            assert os.listdir(dirs[1]) == ["cache"], os.listdir(dirs[1])


def owners(folder):
    """Of what lies in it; a file that has just been replaced has none."""
    found = []
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.append(entry.stat().st_uid)
    return sorted(found)


@scenario
def reloaded_with_a_user():
    """SIGHUP that adds `user`: the state files that root has made can be read and replaced by it"""
    if os.geteuid():
        raise tap.Skip("only root has other users")
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data, "/two": data}) as s:
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write(f"url {s.url}\n")
        with daemon("-d", "offline allow", "timeout 1", options=["-f", path]) as k:
            k.closed(k.opened("erofs,img", b"img"))
            with open(path, "a") as file:
                file.write("user 65534:65534\n")
            reload(k)
            assert "\nUid:\t65534\t" in k.proc("status"), k.proc("status")
            k.opened("erofs,two", b"two")
            k.wait(lambda: owners(f"{k.cache}/cachefilesd-mini") == [0, 65534], 10, "a remembered image of each user")
            s.stop()
            k.opened("erofs,img", b"img")       # by what root has remembered
            assert not re.search("cannot be (given|remembered)", k.stderr), k.stderr


@scenario
def culler_killed():
    """the process that culls is killed: the log says it, all else goes on, and SIGHUP begins another"""
    data = image(1, 5000)

    def cullers():
        return k.proc(f"task/{k.worker}/children").split()

    with Server({"/img": data, "/two": data, "/after": data}) as s, daemon(s) as k:
        k.opened("erofs,img", b"img")
        k.wait(cullers, 10, "a culler")
        os.kill(int(cullers()[0]), signal.SIGKILL)
        time.sleep(0.2)
        f = k.opened("erofs,two", b"two")
        k.wait_log("the process that culls has ended")
        need(k, f, data, 0, 5000)
        reload(k)
        k.wait(cullers, 10, "a culler")
        assert len(cullers()) == 1, cullers()
        still_serves(k, s)


INITRAMFS = "/etc/initrd-release"


@scenario
def started_by_an_initramfs():
    """where /etc/initrd-release is, `retry hard` is the default: nothing is refused, it waits; systemd spares it"""
    if not os.path.exists(INITRAMFS):
        # A mount namespace of its own, whose /etc has only that file.
        shell = f'mount -t tmpfs none /etc && touch {INITRAMFS} && exec "$@"'
        inside = ["unshare", "-rm", "sh", "-c", shell, "sh"]
        if subprocess.run([*inside, "true"], capture_output=True).returncode:
            raise tap.Skip("no mount namespace here")
        again = subprocess.run([*inside, sys.executable, *sys.argv[:1], "-k", "initramfs", Program.path],
                               capture_output=True, text=True, timeout=40)
        assert again.returncode == 0, again.stdout
        return
    with Server({"/img": image(1, 5000)}) as s:
        s.stop()
        with daemon(s, "timeout 1") as k:
            k.wait_bound()
            assert k.proc("cmdline").startswith("@"), k.proc("cmdline")
            f = k.open("erofs,img", b"img")
            k.wait_log("until it works", 5)
            time.sleep(3)
            s.start()
            assert k.wait_copen(f, 15) == reported(s.images["/img"])
