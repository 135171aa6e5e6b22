"""NBD: devices come and go: attach lines, SIGHUP, --attach and --detach, devices that others have."""
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time

from lib import tap
from lib.nbd_control import Control
from scenarios.common import KIB, MIB, Program, Server, each, image, scenario, words
from scenarios.nbd_common import Load, Nbd, NbdStandIn, blocks, disconnected, kill_worker, need, reload, tool
from scenarios.verified_common import Made


@contextlib.contextmanager
def three(*directives, attach=("img",), **more):
    """A server with the images /img, /two and /three, and the daemon, which has a configuration file."""
    data = {name: image(name, 300000 + len(name)) for name in ("img", "two", "three")}
    with Nbd() as n, Server({f"/{name}": d for name, d in data.items()}) as s, \
            blocks(s, n, *directives, attach=attach, **more) as k:
        yield data, s, n, k


@scenario
def nbd_chosen_device():
    """attach NAME /dev/nbdN: that one, also one that has to be made; others take what is free"""
    with three(attach=["img /dev/nbd2", "two", "three /dev/nbd7"]) as (data, s, n, k):
        places = {name: k.attached(name) for name in data}
        assert {name: d.index for name, d in places.items()} == {"img": 2, "two": 0, "three": 7}, places
        for name, d in places.items():
            need(d, data[name], 4096, 8192)
        disconnected(k)


def occupy(n, index):
    """Makes a device that of another program. Returns that program's end."""
    ours, theirs = socket.socketpair()
    d = n.device(index, True)
    with n.changed:
        d.size, d.block, d.backend, d.pid = 1 << 20, 512, None, os.getpid()
        d.connect(theirs.detach())
        d.publish()
    return ours


@each("--detach", "--attach", "--attach to another", "SIGHUP", "SIGTERM", "SIGTERM and a claim")
def nbd_disconnected_by_others(then):
    """`nbd-client -d` of somebody else, who connects the device anew: it is told, and left alone; another can be had"""
    with three(attach=["img"], expect_exit=None) as (data, s, n, k):
        d = k.attached("img")
        assert tool(k, "--attach", "two")[0] == 0
        e = k.attached("two")
        need(d, data["img"], 0, 4096)
        with n.changed:
            d.disconnect()
        with occupy(n, 0):
            d.claimed = "claim" in then
            link = d.link
            need(e, data["two"], 0, 65536)
            k.wait_log("img: not attached any more: /dev/nbd0 has been disconnected", 5)
            before = k.cpu()
            time.sleep(1)
            assert k.cpu() - before < 0.2, "it spins"
            if then == "--detach":
                status, out, err = tool(k, "--detach", "img")
                assert status == 1 and "not attached" in err, (status, out, err)
            elif then == "--attach":
                status, out, err = tool(k, "--attach", "img", "/dev/nbd0")
                assert status == 1 and "/dev/nbd0 is in use" in err, (status, out, err)
            elif then == "--attach to another":
                assert tool(k, "--attach", "img") == (0, "/dev/nbd2\n", "")
                need(n[2], data["img"], 8192, 4096)
            elif then == "SIGHUP":
                reload(k)
                n.wait(lambda: n[2].connected, 10, "another device")
                need(n[2], data["img"], 8192, 4096)
            if then.startswith("SIGTERM"):
                assert k.stop() == 0
            else:
                need(e, data["two"], 65536, 4096)
                kill_worker(k)
                need(e, data["two"], 131072, 4096)
            assert d.connected and d.link is link and not link.dead, "the stranger's device"
            assert not d.backend


@scenario
def nbd_disconnected_unseen():
    """... in the moment in which it is detached: the socket tells, and the stranger's device is left alone"""
    with three(attach=["img"], expect_exit=None) as (data, s, n, k):
        d = k.attached("img")
        os.kill(k.worker, signal.SIGSTOP)           # it tells nothing
        with n.changed:
            d.disconnect()
        with occupy(n, 0):
            link = d.link
            status, out, err = tool(k, "--detach", "img")
            assert status == 1 and "not attached" in err, (status, out, err)
            assert d.connected and d.link is link and not link.dead, "the stranger's device"
        os.kill(k.worker, signal.SIGCONT)


@scenario
def nbd_disconnected_while_mounted():
    """... and the device stays open, with what it was: the next start goes on without it"""
    with three(attach=["img"], keep=True, expect_exit=None) as (data, s, n, k):
        d = k.attached("img")
        d.claimed = True
        with n.changed:
            d.disconnect()
        k.wait_log("img: not attached any more", 5)
        status, out, err = tool(k, "--attach", "img")
        assert status == 1 and "/dev/nbd0 has it already: unmount" in err, (status, out, err)
        assert k.stop() == 0
        with blocks(s, n, attach=["two", "img"], after=k) as again:
            need(again.attached("two"), data["two"], 0, 4096)
            again.wait_log("img: not attached: /dev/nbd0 has it already: unmount", 10)
            d.claimed = False
            d.clear()
            assert tool(again, "--attach", "img") == (0, "/dev/nbd0\n", "")
            need(d, data["img"], 0, 4096)
            disconnected(again)


@scenario
def nbd_device_of_another():
    """a device that another program has is named and not taken; another line gets its device"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s, occupy(n, 1), occupy(n, 0):
        with blocks(s, n, attach=["img /dev/nbd1", "two"]) as k:
            k.wait_log(r"/dev/nbd1|nbd1")
            assert k.attached("two").index == 2, n.connected()
            need(k.attached("two"), data, 0, 4096)
            assert k.stop() == 0
        assert [d.index for d in n.connected()] == [0, 1], n.connected()


@each("/dev/nbd2", "any")
def nbd_refused_and_another_line(device):
    """an image whose device another program has: SIGHUP with another device, or none, in its line attaches it there"""
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server({"/img": data}) as s, occupy(n, 3):
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write("attach img /dev/nbd3\n")
        with blocks(s, n, attach=[], options=["-f", path]) as k:
            k.wait_log("img: not attached: .*/dev/nbd3", 15)
            with open(path, "w") as file:
                file.write("attach img\n" if device == "any" else f"attach img {device}\n")
            reload(k)
            d = k.attached("img")
            assert d.index == {"any": 0}.get(device, 2), d
            need(d, data, 0, 65536)
            assert k.stderr.count("not attached") == 1, k.stderr


@scenario
def nbd_refused_and_replaced():
    """an image whose device another program has is replaced: attached to another device, it is the new one"""
    old, new = image(1, 300000), image(2, 300000)
    with Nbd() as n, Server({"/img": old, "/two": old}) as s, occupy(n, 3), blocks(s, n, attach=["two"]) as k:
        k.attached("two")
        assert tool(k, "--attach", "img", "/dev/nbd3")[0] == 1
        s.images["/img"] = new
        assert tool(k, "--attach", "img")[0] == 0
        need(k.attached("img"), new, 0, 262144)


@scenario
def nbd_refused_and_verified():
    """an image whose device another program has gets a root hash: attached to another device, it is verified"""
    made, other = Made("a root hash, later"), Made("liar's")
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server(other.files()) as s, occupy(n, 3):
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write("timeout 2\n")
        with blocks(s, n, "front nbd", attach=[], options=["-f", path]) as k:
            assert tool(k, "--attach", "img", "/dev/nbd3")[0] == 1
            with open(path, "a") as file:
                file.write(f"{made.directive()}\n")
            reload(k)
            assert tool(k, "--attach", "img")[0] == 1
            s.images.update(made.files())
            assert tool(k, "--attach", "img")[0] == 0
            need(k.attached("img"), made.data, 0, 262144)


@scenario
def nbd_reload_adds_a_root_hash():
    """SIGHUP that brings a root hash of an attached image: it counts when that is attached anew, as the log says"""
    made, other = Made("a root hash, later"), Made("liar's")
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server(other.files()) as s:
        path = os.path.join(folder, "conf")
        open(path, "w").close()
        with blocks(s, n, "timeout 2", "front nbd", attach=[], options=["-f", path]) as k:
            assert tool(k, "--attach", "img")[0] == 0
            need(k.attached("img"), other.data, 0, 65536)
            with open(path, "w") as file:
                file.write(f"{made.directive()}\n")
            reload(k)
            k.wait_log("img: was opened without being verified: it is once it is mounted or attached anew", 10)
            need(k.attached("img"), other.data, MIB, 65536)
            assert tool(k, "--detach", "img")[0] == 0
            assert tool(k, "--attach", "img")[0] == 1
            s.images.update(made.files())
            assert tool(k, "--attach", "img")[0] == 0
            need(k.attached("img"), made.data, 0, 262144)


@scenario
def nbd_attach_tool():
    """--attach prints the device, also for one that is attached already; --detach frees it; READs of others go on"""
    with three(attach=["img"]) as (data, s, n, k):
        d = k.attached("img")
        with Load(d, data["img"]) as load:
            assert tool(k, "--attach", "two") == (0, "/dev/nbd1\n", "")
            need(n[1], data["two"], 512, 4096)
            assert tool(k, "--attach", "three", "/dev/nbd3") == (0, "/dev/nbd3\n", "")
            need(n[3], data["three"], 512, 4096)
            status, out, err = tool(k, "--detach", "two")
            assert (status, err) == (0, ""), (status, out, err)
            n.wait(lambda: not n[1].connected, 5, "the end of nbd1")
            assert tool(k, "--attach", "two") == (0, "/dev/nbd1\n", "")
            need(n[1], data["two"], 8192, 4096)
        assert load.done and load.longest < 5, (load.done, load.longest)
        kill_worker(k)
        need(n[1], data["two"], 16384, 4096)
        need(n[3], data["three"], 16384, 4096)
        disconnected(k)


@scenario
def nbd_attach_tool_fails():
    """--attach and --detach of what cannot be: status 1, one line that names it; the daemon goes on"""
    with three(attach=["img"]) as (data, s, n, k), occupy(n, 2):
        d = k.attached("img")
        for words_, says in ((["--attach", "none"], "404"),
                             (["--attach", "two", "/dev/nbd2"], "/dev/nbd2"),
                             (["--detach", "two"], "not attached"),
                             (["--attach", "img", "/dev/nbd3"], "/dev/nbd0")):
            status, out, err = tool(k, *words_)
            assert (status, out) == (1, ""), (words_, status, out, err)
            assert re.search(says, err) and err.count("\n") == 1, (words_, err)
        d.claimed = True
        status, out, err = tool(k, "--detach", "img")
        assert status == 1 and re.search("/dev/nbd0.*(claimed|mounted|in use)", err), (status, err)
        assert d.connected
        need(d, data["img"], 0, 65536)
        d.claimed = False
        status, out, err = tool(k, "--detach", "img")
        assert status == 0, (status, out, err)
        for words_ in (["--attach"], ["--detach"], ["--attach", "a", "/dev/sda"], ["--attach", "a", "/dev/nbd1", "b"],
                       ["--attach", ""], ["--attach", "n" * 256]):
            status, out, err = tool(k, *words_)
            assert status in (1, 2) and err, (words_, status, out, err)
        assert tool(k, "--attach", "two") == (0, "/dev/nbd0\n", "")


@scenario
def nbd_attach_tools_that_are_gone():
    """clients that do not wait for a refusal, again and again: no place stays taken"""
    with three(attach=["img"]) as (data, s, n, k):
        k.attached("img")
        path = f"{k.cache}/control"
        s.default["delay"] = 0.3
        for turn in range(17):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"attach none%d\n" % turn)
                time.sleep(0.05)
            k.wait(lambda turn=turn: re.search(f"none{turn}: .*404", k.stderr), 20, "the refusal")
        time.sleep(0.3)
        assert tool(k, "--attach", "two") == (0, "/dev/nbd1\n", "")
        assert tool(k, "--detach", "none3")[0] == 1, "it is there still"


@scenario
def nbd_refused_line_is_removed():
    """an image that was refused and has no line any more leaves its place"""
    data = image(1, 50000)
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server({"/img": data, "/two": data}) as s, occupy(n, 3):
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write("attach img /dev/nbd3\nattach two\n")
        with blocks(s, n, attach=[], options=["-f", path]) as k:
            k.wait_log("img: not attached: /dev/nbd3 is in use", 10)
            k.attached("two")
            with open(path, "w") as file:
                file.write("attach two\n")
            reload(k)
            k.wait(lambda: tool(k, "--detach", "img")[0] == 1, 5, "the end of the place")


@scenario
def nbd_attach_tool_without_a_daemon():
    """... and no daemon runs: status 1, the socket is named"""
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = Program.run("-f", "/dev/null", "-o", f"control {folder}/control", "--attach", "img")
        assert (status, out) == (1, "") and f"{folder}/control" in err, (status, out, err)


@scenario
def nbd_table_full():
    """16 devices are attached: a further one is refused by name, until one is detached"""
    names = [f"i{n}" for n in range(18)]
    data = image(1, 50000)
    with Nbd() as n, Server({f"/{name}": data for name in names}) as s, blocks(s, n, attach=names[:16]) as k:
        for name in names[:16]:
            k.attached(name, 30)
        status, out, err = tool(k, "--attach", "i16")
        assert (status, out) == (1, "") and "taken" in err, (status, out, err)
        assert tool(k, "--detach", "i5")[0] == 0
        status, out, err = tool(k, "--attach", "i17")
        assert (status, err) == (0, ""), (status, out, err)
        for name in ("i0", "i15", "i17"):
            need(k.attached(name), data, 4096, 4096)


@scenario
def nbd_control_socket():
    """the control socket is 0600; garbage, long lines, and clients that say nothing or do not read do no harm"""
    with three(attach=["img"]) as (data, s, n, k):
        d = k.attached("img")
        path = f"{k.cache}/control"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, oct(os.stat(path).st_mode)
        silent = []
        for _ in range(8):
            silent.append(socket.socket(socket.AF_UNIX))
            with contextlib.suppress(OSError):
                silent[-1].settimeout(1)
                silent[-1].connect(path)
        for line in (b"", b"\n", b"attach\n", b"attach \n", b"attach x" + b"y" * 700 + b"\n", b"y" * 600,
                     b"\0" * 100 + b"\n", b"nonsense\n", b"detach\n", b"attach img /dev/nbd99999999999999999999\n",
                     b"front\nfront\nfront\n",
                     b"attach a\rb\n", b"attach %s\n" % (b"\xff" * 200)):
            with contextlib.suppress(ConnectionError, TimeoutError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(15)
                client.connect(path)
                client.sendall(line)
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(1000)
                assert len(answer) <= 600 and answer.count(b"\n") <= 1, (line, answer)
                assert line.startswith(b"front") or not answer.startswith(b"ok"), (line, answer)
        need(d, data["img"], 0, 4096)
        for client in silent:
            client.close()
        assert tool(k, "--attach", "two") == (0, "/dev/nbd1\n", "")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(15)
            client.connect(path)
            for part in (b"fr", b"ont", b"\n"):
                client.sendall(part)
                time.sleep(0.1)
            assert client.recv(1000) == b"ok nbd\n"


@scenario
def nbd_control_of_another_user():
    """a client of another user: refused, though it has got the socket's path"""
    if os.geteuid():
        raise tap.Skip("only root has other users and mounts")
    with three(attach=["img"]) as (data, s, n, k):
        k.attached("img")
        path = f"{k.cache}/control"
        os.chmod(path, 0o666)
        for folder in (os.path.dirname(path), k.directory):
            os.chmod(folder, 0o755)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(5)
                client.connect(path)
                client.sendall(b"attach two\n")
                os._exit(1 if client.recv(1000).startswith(b"ok") else 0)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        time.sleep(0.3)
        assert [d.index for d in n.connected()] == [0], n.connected()


@scenario
def nbd_control_is_removed():
    """the control socket is there while the daemon runs; a start after a death takes its place"""
    with three(attach=["img"], keep=True, expect_exit=None) as (data, s, n, k):
        k.attached("img")
        path = f"{k.cache}/control"
        n.may_break = True
        k.signal(signal.SIGKILL)
        k.wait_exit()
        n.wait(lambda: n[0].link.dead, 10, "the end of the socket")
        assert os.path.exists(path)
        with blocks(s, n, after=k) as again:
            need(n[0], data["img"], 0, 4096)
            assert tool(again, "--attach", "two") == (0, "/dev/nbd1\n", "")
            disconnected(again)
            assert not os.path.exists(path)


@scenario
def nbd_reload_lines():
    """SIGHUP: new lines are attached, removed ones that are not claimed detached; what stays is not touched"""
    data = {name: image(name, 300000) for name in ("img", "two", "three")}
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, \
            Server({f"/{name}": d for name, d in data.items()}) as s:
        path = os.path.join(folder, "conf")

        def configure(*names):
            with open(path, "w") as file:
                file.write("".join(f"{line}\n" for line in (f"url {s.url}", *(f"attach {name}" for name in names))))

        configure("img", "two")
        argv = [Program.path, "-n", "-s", "-f", path, *words("control {cache}/control")]
        with NbdStandIn(argv, n) as k:
            d, e = k.attached("img"), k.attached("two")
            with Load(d, data["img"]) as load:
                configure("img", "three /dev/nbd3")
                reload(k)
                need(k.attached("three"), data["three"], 0, 4096)
                n.wait(lambda: not e.connected, 10, "the end of two")
            assert load.done
            assert n.find("three").index == 3
            d.claimed = True
            configure("three /dev/nbd3")
            reload(k)
            k.wait_log("img: .*(claimed|in use|mounted)|(claimed|in use|mounted).*img", 10)
            need(d, data["img"], 0, 65536)
            kill_worker(k)
            need(d, data["img"], 4096, 65536)
            d.claimed = False
            configure("three /dev/nbd3", "two")
            reload(k)
            need(k.attached("two"), data["two"], 0, 4096)
            need(n[3], data["three"], 8192, 4096)
            disconnected(k)


@scenario
def nbd_reload_is_refused():
    """SIGHUP with a mistake: all devices stay"""
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, Server({"/img": image(1, 300000)}) as s:
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write(f"url {s.url}\nattach img\n")
        argv = [Program.path, "-n", "-s", "-f", path, *words("control {cache}/control")]
        with NbdStandIn(argv, n) as k:
            d = k.attached("img")
            with open(path, "w") as file:
                file.write(f"url {s.url}\nattach img /dev/sda\n")
            k.signal(signal.SIGHUP)
            k.wait_log("not reloaded", 15)
            need(d, s.images["/img"], 0, 65536)


@scenario
def nbd_reload_with_less_memory():
    """SIGHUP with `memory` for fewer devices than are attached: all are served, or it is refused and says so"""
    names = [f"i{n}" for n in range(14)]
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Nbd() as n, \
            Server({f"/{name}": data for name in names}) as s:
        path = os.path.join(folder, "conf")

        def configure(*lines):
            with open(path, "w") as file:
                file.write("".join(f"{line}\n" for line in (*(f"attach {name}" for name in names[:12]), *lines)))

        configure()
        with blocks(s, n, attach=[], options=["-f", path]) as k:
            for name in names[:12]:
                k.attached(name, 30)
            ends = r"(?m)(^.*not reloaded: .*|reloaded: )"

            def wait_reloads(count):
                k.wait(lambda: len(re.findall(ends, k.stderr)) >= count, 30, f"{count} reloads")

            for count, name in enumerate(names[12:], 1):    # each takes a worker with a larger table
                assert tool(k, "--attach", name)[0] == 0
                wait_reloads(count)
            for turn, memory in enumerate(("1M", "704K", "640K", "600K", "576K")):
                configure(f"memory {memory}")
                k.signal(signal.SIGHUP)
                wait_reloads(count + 1 + turn)
                for m, name in enumerate(names):
                    need(k.attached(name), data, (turn * len(names) + m) * 4096, 4096)
            outcomes = re.findall(ends, k.stderr)
            k.nbd.event(f"{outcomes}")
            refused = sum("not reloaded" in outcome for outcome in outcomes)
            assert len(re.findall("memory [0-9]+: too little for .* images, ", k.stderr)) == refused, k.stderr
            disconnected(k)


@scenario
def nbd_no_module():
    """the kernel has no NBD: the module is named; once it is loaded, SIGHUP and --attach work"""
    data = image(1, 50000)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s:
        control = Control(n)
        control.missing = True
        with blocks(s, n, control=control) as k:
            k.wait_log("modprobe nbd", 15)
            status, out, err = tool(k, "--attach", "two")
            assert (status, out) == (1, "") and "modprobe nbd" in err, (status, out, err)
            control.missing = False
            assert tool(k, "--attach", "two") == (0, "/dev/nbd0\n", "")
            reload(k)
            need(k.attached("img"), data, 0, 4096)
            disconnected(k)


# -- room for the cache --------------------------------------------------------------------------

@contextlib.contextmanager
def memory_disk(options):
    """A folder with a tmpfs of its own."""
    if os.geteuid():
        raise tap.Skip("only root can mount")
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
            raise tap.Skip(f"no tmpfs with {options} can be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@each("a full disk", "bstop")
def nbd_cache_is_full(why):
    """the cache's disk is full: READs of what is there are answered, others fail in time, no byte is wrong"""
    data = image(1, 4 * MIB)
    size, limits = ("2M", []) if why == "a full disk" else ("4M", ["brun 70%", "bcull 60%", "bstop 50%"])
    with memory_disk(f"size={size}") as folder, Nbd() as n, Server({"/img": data}) as s, \
            blocks(s, n, f"dir {folder}", f"control {folder}/control", "retry soft 1", "timeout 1", *limits) as k:
        d = k.attached("img")
        reads = [d.read(at, 64 * KIB) for at in range(0, len(data), 64 * KIB)]
        n.wait_done(*reads, timeout=60)
        good = [r for r in reads if not r.error]
        assert all(r.data == data[r.offset:r.offset + r.length] for r in good), "wrong bytes"
        assert good and len(good) < len(reads), len(good)
        need(d, data, good[0].offset, 4096)
        used = sum(os.stat(f"{folder}/cachefilesd-mini/{name}").st_blocks * 512
                   for name in os.listdir(f"{folder}/cachefilesd-mini"))
        assert used < (2 * MIB + 256 * KIB), used


@scenario
def nbd_budget():
    """beyond the budget the files of images that are not attached any more are removed, the oldest first"""
    data = {name: image(name, 700000) for name in ("a", "b", "c")}
    with Nbd() as n, Server({f"/{name}": d for name, d in data.items()}) as s, \
            blocks(s, n, "front nbd", "budget 1500000", attach=[]) as k:
        files = {}
        for name in data:
            assert tool(k, "--attach", name)[0] == 0
            need(k.attached(name), data[name], 0, 700000 // 512 * 512, 20)
            files[name] = k.cache_file()
            if name != "c":
                assert tool(k, "--detach", name)[0] == 0
        k.wait(lambda: not os.path.exists(files["a"]), 40, "the end of the oldest")
        time.sleep(0.5)
        assert os.path.exists(files["b"]) and os.path.exists(files["c"]), files
        need(k.attached("c"), data["c"], 0, 65536)


@scenario
def nbd_pages_that_are_too_large():
    """a tmpfs that calls 2 MiB data after a write of 4 KiB: refused, and the reason is named"""
    with memory_disk("size=64M,huge=always") as folder:
        with open(f"{folder}/probe", "wb") as file:
            file.truncate(8 * MIB)
            os.pwrite(file.fileno(), b"x" * 4096, 4 * MIB)
            if os.lseek(file.fileno(), 0, os.SEEK_DATA) == 4 * MIB:
                raise tap.Skip("this kernel's tmpfs has no large pages")
        with Nbd() as n, Server({"/img": image(1, 50000)}) as s, \
                blocks(s, n, f"dir {folder}", "control none", expect_exit=1) as k:
            assert k.wait_exit() == 1
            k.wait_log_end()
            assert folder in k.stderr and not n.connected(), k.stderr
