"""NBD: everything may die. No READ is lost, none is answered twice, no byte is wrong.

A second answer, or half of one before another, ends the socket in a kernel; here it is a violation (lib/nbd.py).
"""
import errno
import os
import random
import shutil
import signal
import tempfile
import time

from lib import exposition, tap
from lib.machines import Target
from lib.manager import ServiceManager
from lib.nbd_control import Control
from scenarios.common import KIB, MIB, Program, Server, each, image, quiet, scenario, takes_long
from scenarios.nbd_common import (Load, Nbd, attached, blocks, both_ends, disconnected, fails, got, kill_all,
                                  kill_worker, need, recovers, reload, tool, whole)
from scenarios.verified_common import Made


@scenario
def nbd_worker_killed():
    """the worker is killed while READs wait for the server: the next one answers them, each once"""
    data = image(1, 4 * MIB)
    with attached(data) as (s, k, d):
        k.nbd.wait(lambda: both_ends(s, data), 10, "both ends")
        for n in range(5):
            s.default["delay"] = 1000
            reads = [d.read(MIB + n * 256 * KIB + m * 8 * KIB, 4096) for m in range(20)]
            time.sleep(0.2)
            kill_worker(k)
            s.default["delay"] = 0
            s.stop()
            s.start()
            got(d, reads, data, 20)
            assert all(r.sendings == r.answers == 1 for r in reads), reads
        disconnected(k)


@each(*(str(n) for n in (1, 15, 16, 17, 512, 4096, 4112, 65536, 65552, 200000, 262159, 262160, 262161, 1000000)))
def nbd_worker_killed_in_a_reply(count):
    """... when so many bytes of the replies have been taken, the rest being in the socket, the pipe or nowhere"""
    count = int(count)
    data = image(1, 4 * MIB)
    with attached(data) as (s, k, d):
        need(d, data, 0, 4 * MIB, 20)
        d.let(count)
        reads = [d.read(n * 300 * KIB // 512 * 512, 256 * KIB) for n in range(8)]
        d.wait_let()
        time.sleep(0.05)
        kill_worker(k)
        time.sleep(0.1)
        d.let(None)
        got(d, reads, data, 20)
        assert all(r.answers == 1 and r.sendings == 1 for r in reads), reads
        need(d, data, 512, 4096)


@each(1, 2, 3, 4)
@takes_long
def nbd_worker_killed_at_random(seed):
    """40 kills at random moments, under load, while the replies are taken at random: no READ is lost or wrong"""
    data = image(1, 6 * MIB)
    rng = random.Random(f"kills {seed}")
    with attached(data) as (s, k, d):
        with Load(d, data, seed, depth=rng.choice((4, 32, 100)), largest=rng.choice((8 * KIB, 128 * KIB, MIB))) as load:
            for _ in range(40):
                if rng.random() < 0.4:
                    d.let(rng.choice((rng.randrange(1, 100), rng.randrange(1, 300000))))
                time.sleep(rng.random() * 0.1)
                kill_worker(k)
                time.sleep(rng.random() * 0.02)
                d.piece = rng.choice((1 << 20, 5000, 65536))
                d.let(None)
        assert load.done, "no READ was answered"
        disconnected(k)


@scenario
def nbd_worker_killed_again_at_once():
    """the next worker is killed before it has answered anything, again and again: the READs still wait"""
    data = image(1, 2 * MIB)
    with attached(data) as (s, k, d):
        k.nbd.wait(lambda: both_ends(s, data), 10, "both ends")
        s.default["delay"] = 1000
        reads = [d.read(MIB + n * 4096, 4096) for n in range(100)]
        for _ in range(6):
            kill_worker(k)
        s.default["delay"] = 0
        s.stop()
        s.start()
        got(d, reads, data, 20)


@scenario
def nbd_many_devices_and_a_death():
    """16 devices with 100 READs each, half of whose replies are not taken: the worker is killed, all are answered"""
    data = image(1, 600000)
    names = [f"i{n}" for n in range(16)]
    with Nbd() as n, Server({f"/{name}": data for name in names}) as s, blocks(s, n, attach=names) as k:
        devices = [k.attached(name, 30) for name in names]
        for d in devices[::2]:
            d.let(30000)
        reads = [d.read(m * 4608, 4608) for m in range(100) for d in devices]
        time.sleep(0.5)
        kill_worker(k)
        for d in devices:
            d.let(None)
        got(devices[0], reads, data, 60)


@scenario
def nbd_reloaded_under_load():
    """SIGHUP, five times, under load: READs go on"""
    data = image(1, 6 * MIB)
    with attached(data) as (s, k, d):
        with Load(d, data) as load:
            for _ in range(5):
                reload(k)
                time.sleep(0.2)
        assert load.longest < 5, load.longest
        assert len([c for c in k.control.commands if c[0] == 1]) == 1, k.control.commands
        disconnected(k)


@each("SIGUSR2", "--upgrade")
def nbd_upgraded(how):
    """SIGUSR2 and --upgrade under load: another program serves the same sockets, no netlink socket is made anew"""
    if Target.emulator:
        raise tap.Skip("the keeper would become a program of that machine")
    data = image(1, 6 * MIB)
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server({"/img": data}) as s:
        program = os.path.join(folder, "program")
        shutil.copy(Program.path, program)
        with blocks(s, n, program=program, options=["-p", f"{folder}/pid"]) as k:
            d = k.attached("img")
            with Load(d, data) as load:
                for turn in range(3):
                    shutil.copy(Program.path, program + ".new")
                    os.rename(program + ".new", program)
                    if how == "SIGUSR2":
                        k.signal(signal.SIGUSR2)
                    else:
                        status, out, err = Program.run("-p", f"{folder}/pid", "--upgrade")
                        assert status == 0, (status, out, err)
                    k.wait(lambda: k.stderr.count("upgrade: going on as") == turn + 1, 20, "the upgrade")
                    before = k.worker
                    k.wait(lambda: k.worker != before or how == "--upgrade", 20, "another worker")
                    kill_worker(k)
            assert load.done and load.longest < 10, (load.done, load.longest)
            assert len(k.netlink_fds) == 1, k.netlink_fds
            assert [c[0] for c in k.control.commands] == [1], k.control.commands
            disconnected(k)
            assert k.control.commands[-1][0] == 2, k.control.commands


@scenario
def nbd_upgraded_in_memory():
    """a daemon of an initramfs, twice: it becomes a copy in memory, which knows where the next program lies"""
    if Target.emulator:
        raise tap.Skip("the keeper would become a program of that machine")
    data = image(1, 2 * MIB)
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server({"/img": data}) as s:
        program = os.path.join(folder, "program")
        shutil.copy(Program.path, program)
        with blocks(s, n, program=program, prefix=["/bin/bash", "-c", 'exec -a @program "$@"', "sh"]) as k:
            d = k.attached("img")
            for turn in range(2):
                shutil.copy(Program.path, program + ".new")
                os.rename(program + ".new", program)
                k.signal(signal.SIGUSR2)
                k.wait(lambda: k.stderr.count("is in use") == turn + 2, 20, "the upgrade")
                assert os.readlink(f"/proc/{k.pid}/exe") == f"/memfd:{program} (deleted)"
                with open(f"/proc/{k.pid}/comm") as file:
                    assert file.read() == "cachefilesd-min\n"
                need(d, data, turn * MIB, 65536)
            disconnected(k)


@scenario
def nbd_upgrade_is_refused():
    """a new program that is none: all stays as it was, under load"""
    if Target.emulator:
        raise tap.Skip("the keeper would become a program of that machine")
    data = image(1, 2 * MIB)
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server({"/img": data}) as s:
        program = os.path.join(folder, "program")
        shutil.copy(Program.path, program)
        with blocks(s, n, program=program) as k:
            d = k.attached("img")
            os.unlink(program)
            shutil.copy("/bin/false", program)
            k.signal(signal.SIGUSR2)
            k.wait_log("upgrade: .*: all stays as it was", 15)
            need(d, data, MIB, 4096)
            kill_worker(k)
            need(d, data, MIB + 8192, 4096)


# -- the end of all --------------------------------------------------------------------------------

@each("idle", "READs wait for the server", "a reply is half taken", "under load")
def nbd_all_killed(when):
    """keeper and worker are killed, the program starts again: RECONFIGURE by the identifier, READs are answered"""
    data = image(1, 4 * MIB)
    with Nbd() as n, Server({"/img": data}) as s:
        with blocks(s, n, keep=True) as k:
            d = k.attached("img")
            need(d, data, 0, 2 * MIB, 20)
            quiet(s)
            d.claimed = True
            if when == "READs wait for the server":
                s.default["delay"] = 1000
            elif when == "a reply is half taken":
                d.let(100000)
            reads = [d.read(m * 64 * KIB, 64 * KIB) for m in range(60)] if when != "idle" else []
            if when == "a reply is half taken":
                d.wait_let()
            kill_all(k)
        size, backend = d.size, d.backend
        s.default.pop("delay", None)
        s.stop()
        s.start()
        reads += [d.read(m * 8192 + MIB, 8192) for m in range(4)]       # they wait for another socket
        with blocks(s, n, after=k) as k:
            got(d, reads, data, 30)
            need(d, data, 3 * MIB, 4096)
            assert (d.size, d.backend) == (size, backend)
            assert [c[0] for c in k.control.commands].count(3) >= 1 and not [c for c in k.control.commands if c[0] == 1]
            d.claimed = False
            disconnected(k)


@scenario
def nbd_all_killed_and_the_end_is_not_seen_yet():
    """... at once, while the kernel has not noticed the end of the socket: RECONFIGURE until it takes one"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data}) as s:
        with blocks(s, n, keep=True) as k:
            d = k.attached("img")
            need(d, data, 0, 65536)
            n.notice = 600
            k.expect_exit = None
            k.signal(signal.SIGKILL)
            k.wait_exit()
        with blocks(s, n, after=k) as k:
            n.wait(lambda: k.control.commands, 30, "RECONFIGURE")
            time.sleep(0.5)
            n.notice = 0
            need(d, data, MIB, 65536)
            assert [c[0] for c in k.control.commands].count(3) > 1, k.control.commands
            disconnected(k)


@scenario
def nbd_all_killed_offline():
    """... and no server is there: what is cached is read from the device that waited, without `offline`"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data}) as s:
        with blocks(s, n, keep=True) as k:
            d = k.attached("img")
            need(d, data, 0, MIB, 20)
            kill_all(k)
        s.stop()
        with blocks(s, n, "timeout 1", "retry soft 1", after=k) as k:
            got(d, [d.read(m * 4096, 4096) for m in range(MIB // 4096)], data, 30)
            s.start()
            recovers(d, data, MIB + 8192, 4096, 20)


@each("another root hash", "no server")
def nbd_all_killed_and_not_opened(why):
    """... and the image cannot be opened any more: what is cached is read all the same"""
    made, other = Made("made"), Made("other")
    with Nbd() as n, Server(made.files()) as s:
        with blocks(s, n, made.directive(), keep=True) as k:
            d = k.attached("img")
            need(d, made.data, 0, MIB)
            kill_all(k)
        if why == "no server":
            s.stop()
        root = made if why == "no server" else other
        with blocks(s, n, root.directive(), "retry hard", after=k) as k:
            need(d, made.data, 0, MIB, 20)
            d.claimed = False
            disconnected(k)


@scenario
def nbd_status_of_one_not_opened():
    """a device whose image has another root hash by now: --status has it, with the error, between the attempts too"""
    made, other = Made("made"), Made("other")
    with Nbd() as n, Server(made.files()) as s:
        with blocks(s, n, made.directive(), keep=True) as k:
            need(k.attached("img"), made.data, 0, MIB)
            kill_all(k)
        with blocks(s, n, other.directive(), "status {cache}/status", "timeout 2", after=k) as k:
            k.wait_log("img: cannot be opened", 20)
            for again in range(2):
                m = exposition.Metrics(exposition.ask(f"{k.cache}/status"))
                assert m.get("image_device", image="img", device="/dev/nbd0") == 1, m.samples
                assert m.states("img") == {"opening"} and m.get("open_files") == 0, m.samples
                assert [x for x in m.samples if x[0] == "image_last_error_seconds"], m.samples
                if not again:
                    reload(k)
                    k.wait(lambda: k.stderr.count("img: cannot be opened") > 1, 20, "another attempt")
            assert tool(k, "--detach", "img")[0] == 0
            m = exposition.Metrics(exposition.ask(f"{k.cache}/status"))
            assert not [x for x in m.samples if x[0].startswith("image_")], m.samples


@scenario
def nbd_all_killed_and_replaced():
    """... and the server has another image by now: the device keeps its size and its cached bytes, others fail"""
    old, new = image("old", 3 * MIB), image("new", 5 * MIB)
    with Nbd() as n, Server({"/img": old}) as s:
        with blocks(s, n, keep=True) as k:
            d = k.attached("img")
            need(d, old, 0, 65536)
            n.wait(lambda: both_ends(s, old), 10, "both ends")
            quiet(s)
            kill_all(k)
        s.images["/img"] = new
        with blocks(s, n, "timeout 1", "retry soft 1", after=k) as k:
            need(d, old, 0, 65536, 20)
            fails(d, 2 * MIB, 65536, 15)
            assert d.size == whole(old) and d.link and not d.link.dead
            disconnected(k)


@scenario
def nbd_all_killed_and_the_cache_is_lost():
    """... and the cache was removed: everything is fetched again; no wrong byte"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data}) as s:
        with blocks(s, n, keep=True) as k:
            d = k.attached("img")
            need(d, data, 0, 2 * MIB, 20)
            kill_all(k)
        shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
        with blocks(s, n, after=k) as k:
            need(d, data, 0, 2 * MIB, 20)


@scenario
def nbd_all_killed_and_the_cache_of_no_line_is_lost():
    """... of an image that a person has attached: it is told with what takes it over, a start with a line"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s:
        with blocks(s, n, attach=["two"], keep=True) as k:
            assert tool(k, "--attach", "img")[0] == 0
            d = k.attached("img")
            need(d, data, 0, 65536, 20)
            d.claimed = True
            kill_all(k)
        shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
        with blocks(s, n, after=k, attach=["two"], keep=True) as k:
            k.wait_log(f"img: /dev/{d} is left alone, as its cache file is missing: an attach line takes it over", 10)
            assert not [line for line in k.stderr.split("\n") if "two" in line and "left alone" in line], k.stderr
            while "no daemon answers" in (err := tool(k, "--attach", "img")[2]):    # not yet
                time.sleep(0.1)
            assert "start again with an attach line" in err, err
            assert k.stop() == 0
        with blocks(s, n, after=k, attach=["two", "img"]) as k:
            need(d, data, MIB, 65536, 20)
            d.claimed = False
            disconnected(k)


@scenario
def nbd_all_killed_and_replaced_without_a_cache():
    """... and the server has another image by now: what it sends first is not written into the old one's file"""
    old, new = image("old", 3 * MIB), image("new", 3 * MIB)
    with Nbd() as n, Server({"/img": old}) as s:
        with blocks(s, n, keep=True) as k:
            need(k.attached("img"), old, 0, 65536)
            kill_all(k)
        shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
        s.images["/img"] = new
        with blocks(s, n, "timeout 1", "retry soft 1", after=k) as k:
            d = n.find("img")
            k.wait_log("another version than the one that is mounted", 30)
            for at in [*range(0, 64 * KIB, 4096), 0]:
                fails(d, at, 4096)
            disconnected(k)


@scenario
def nbd_all_killed_and_the_line_is_gone():
    """... and the image is not to be attached any more: its device is served as long as it is claimed"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s:
        with blocks(s, n, keep=True) as k:
            d = k.attached("img")
            need(d, data, 0, 65536)
            d.claimed = True
            kill_all(k)
        with blocks(s, n, after=k, attach=["two"]) as k:
            need(k.attached("two"), data, 0, 65536)
            need(d, data, 0, 65536)
            k.signal(signal.SIGTERM)
            k.wait_log("not stopping: ", 5)
            d.claimed = False
            assert k.stop() == 0
            assert not n.connected(), n.connected()


@scenario
def nbd_keeper_killed():
    """the keeper alone is killed: the worker serves on"""
    data = image(1, 2 * MIB)
    with attached(data) as (s, k, d):
        need(d, data, 0, 65536)
        worker, k.expect_exit = k.worker, None
        os.kill(k.pid, signal.SIGKILL)
        k.wait_exit()
        try:
            got(d, [d.read(MIB + m * 4096, 4096) for m in range(10)], data)
        finally:
            os.kill(worker, signal.SIGKILL)


@scenario
def nbd_another_daemon():
    """a device with our identifier whose socket lives is another daemon's: an error in bounded time, and it goes on"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data}) as s, blocks(s, n) as k:
        d = k.attached("img")
        with blocks(s, n, expect_exit=None) as other:
            other.wait_log("nbd0", 30)
            time.sleep(1)
            count = len(other.control.commands)
            time.sleep(1)
            assert len(other.control.commands) <= count + 2, "an endless loop"
            got(d, [d.read(m * 64 * KIB, 4096) for m in range(10)], data)
        assert d.connected and not d.link.dead
        need(d, data, MIB, 65536)


@scenario
def nbd_one_daemon_a_dir():
    """a second daemon with the same dir: refused, and the first one is named"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data}) as s, blocks(s, n) as k:
        d = k.attached("img")
        with blocks(s, n, f"dir {k.cache}", "control none", attach=["two"], expect_exit=1) as other:
            assert other.wait_exit() == 1
            other.wait_log_end()
            assert str(k.pid) in other.stderr and k.cache in other.stderr, other.stderr
        need(d, data, 0, 4096)


@scenario
def nbd_connect_fails():
    """the kernel refuses CONNECT: the image is named with the reason; after SIGHUP it is tried again"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data}) as s:
        control = Control(n)
        control.fails = {1: errno.ENOMEM}
        with blocks(s, n, control=control) as k:
            k.wait_log("img: .*[Mm]emory|[Mm]emory.*img", 15)
            control.fails = {}
            reload(k)
            need(k.attached("img"), data, 0, 4096)
            disconnected(k)


@each("SIGKILL of all", "SIGTERM")
def nbd_service_manager(how):
    """a service manager keeps the descriptors: no socket ends, no RECONFIGURE is needed, no READ is lost"""
    data = image(1, 4 * MIB)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s, \
            ServiceManager(f"standin-{os.getpid()}-{how}") as manager:
        k, reads = None, []
        for turn in range(4):
            prefix, env, fds = manager.service()
            with blocks(s, n, attach=["img", "two"], keep=turn < 3, after=k, prefix=prefix, env=env, pass_fds=fds) as k:
                d = k.attached("img")
                k.attached("two")
                k.wait(lambda: manager.listen() or "READY=1" in manager.lines, 15, "READY=1")
                got(d, reads, data, 20)
                assert all(r.sendings == 1 for r in reads), reads
                need(d, data, turn * 8192, 4096)
                n.wait(lambda: both_ends(s, data), 10, "both ends")
                assert [c[0] for c in k.control.commands].count(3) == 0, k.control.commands
                manager.listen()
                manager.lines = []
                d.claimed = True
                d.let(10000)
                reads = [d.read(MIB + turn * 8 * KIB + m * 64 * KIB, 4096) for m in range(20)]
                if how == "SIGTERM":
                    assert k.stop() == 0
                else:
                    k.expect_exit = None
                    k.signal(signal.SIGKILL)
                    k.wait_exit()
                time.sleep(0.3)
                assert d.connected and not d.link.dead, "the kernel has seen an end"
                d.let(None)


@each(2, 3, 4, 6)
def nbd_service_manager_keeps_few(most):
    """... or fewer than it should, and the table or not: what is there of a device is dropped, and it is reconnected"""
    data = image(1, 4 * MIB)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s, \
            ServiceManager(f"standin-{os.getpid()}-few-{most}", most) as manager:
        k, reads, may_break = None, [], n.may_break
        for turn in range(3):
            prefix, env, fds = manager.service()
            manager.lines = []
            with blocks(s, n, attach=["img", "two"], keep=turn < 2, after=k, prefix=prefix, env=env, pass_fds=fds) as k:
                d, e = k.attached("img"), k.attached("two")
                k.wait(lambda: manager.listen() or "READY=1" in manager.lines, 15, "READY=1")
                got(d, reads, data, 30)
                need(d, data, turn * 8192, 4096, 30)
                need(e, data, turn * 8192, 4096, 30)
                manager.listen()
                if turn == 1 and most == 4:
                    manager.forget("state")
                d.claimed = e.claimed = True
                reads = [d.read(MIB + turn * 8 * KIB + m * 64 * KIB, 4096) for m in range(20)]
                n.may_break = True
                if turn < 2:
                    k.expect_exit = None
                    k.signal(signal.SIGKILL)
                    k.wait_exit()
                    time.sleep(0.3)
                n.may_break = may_break


@scenario
def nbd_service_manager_and_another_root_hash():
    """... of an image that was not attached yet nothing is kept: by now it may have another root hash"""
    old, new = Made("of the first start"), Made("of the second start")
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server(old.files()) as s, \
            ServiceManager(f"standin-{os.getpid()}-root") as manager:
        path = os.path.join(folder, "conf")

        def start(made, retry, **more):
            with open(path, "w") as file:
                file.write(f"retry {retry}\n{made.directive()}\n")
            prefix, env, fds = manager.service()
            return blocks(s, n, options=["-f", path], prefix=prefix, env=env, pass_fds=fds, **more)

        s.stop()
        with start(old, "hard", keep=True, expect_exit=None) as k:
            k.wait_log("img: .*; trying again until it works", 30)
            k.wait(lambda: manager.listen() or "state" in manager.stored, 15, "the table")
            os.kill(k.pid, signal.SIGSTOP)
            s.start()
            n.wait(lambda: both_ends(s, old.data), 30, "both ends")     # it has its size
            k.signal(signal.SIGKILL)
            k.wait_exit()
        assert not n.connected(), n.connected()
        with start(new, "soft 1", after=k) as k:
            k.wait_log("img: (not attached yet|attached as)", 30)
            assert not n.connected(), n.connected()
            s.images.update(new.files())
            reload(k)                                   # asks again at once
            need(k.attached("img"), new.data, 0, 65536)
            disconnected(k)


# -- the end in order ------------------------------------------------------------------------------

@scenario
def nbd_terminated_while_claimed():
    """SIGTERM is refused while a device is claimed; unclaimed ones are disconnected at the end"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s, blocks(s, n, attach=["img", "two"]) as k:
        d, e = k.attached("img"), k.attached("two")
        d.claimed = True
        k.signal(signal.SIGTERM)
        k.wait_log("not stopping: ", 5)
        got(d, [d.read(0, 4096), e.read(4096, 4096)], data)
        assert not [c for c in k.control.commands if c[0] == 2], k.control.commands
        d.claimed = False
        disconnected(k)


@scenario
def nbd_terminated_while_a_look_hangs():
    """... and while the look at the device takes for ever: one that cannot be looked at counts as claimed"""
    data = image(1, 300000)
    with attached(data) as (s, k, d):
        d.hangs = True
        k.signal(signal.SIGTERM)
        k.wait_log("not stopping: ", 15)
        need(d, data, 0, 65536)
        assert d.connected
        d.hangs = False
        time.sleep(10.5)        # else the next signal counts as the second
        disconnected(k)


@scenario
def nbd_terminated_by_force():
    """... the second time it ends; the claimed device is left for the next start, which takes it over"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s:
        with blocks(s, n, attach=["img", "two"], keep=True) as k:
            d, e = k.attached("img"), k.attached("two")
            need(d, data, 0, 65536)
            d.claimed = True
            k.signal(signal.SIGTERM)
            k.wait_log("not stopping: ", 5)
            k.signal(signal.SIGTERM)
            assert k.wait_exit() == 0
            assert d.connected and not e.connected, n.connected()
        r = d.read(8192, 4096)
        with blocks(s, n, after=k) as k:
            got(d, r, data, 15)
            d.claimed = False
            disconnected(k)


@scenario
def nbd_terminated_with_reads():
    """SIGTERM while READs wait for the server: the end comes in time; the device is disconnected"""
    data = image(1, 4 * MIB)
    with attached(data) as (s, k, d):
        k.nbd.wait(lambda: both_ends(s, data), 10, "both ends")
        s.default["delay"] = 1000
        for m in range(10):
            d.read(MIB + m * 65536, 4096)
        time.sleep(0.2)
        start = time.monotonic()
        disconnected(k)
        assert time.monotonic() - start < 15, "slow to end"      # the server would answer in 1,000 s
