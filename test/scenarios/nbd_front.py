"""Which front end: `front auto`, cachefiles and nbd, and what --test says of it."""
import errno
import re
import tempfile

from scenarios.common import Program, Server, each, image, need as need_file, scenario
from scenarios.nbd_common import Nbd, blocks, disconnected, need, tool

DATA = image(1, 300000)


def front(k, n, s, expected):
    """Demands that this front end serves the image."""
    if expected == "nbd":
        need(k.attached("img"), DATA, 512, 4096)
        assert not k.bound, "the cache is bound"
        k.wait_log("nbd")
        disconnected(k)
    else:
        need_file(k, k.opened("erofs,img", b"img"), DATA, 4096, 8192)
        assert not n.connected(), n.connected()


@each("no /dev/cachefiles", "bind EINVAL", "fsopen ENODEV", "fsconfig EINVAL", "create ENOTBLK", "create EINVAL",
      "create ENODEV", "create ENOBUFS")
def nbd_auto(what):
    """front auto and something to attach: NBD if this kernel has no on-demand EROFS, and a line says why"""
    step, _, name = what.partition(" ")
    expected, more = "cachefiles" if name == "ENOBUFS" else "nbd", {}
    if step == "bind":
        more["bind_error"] = errno.EINVAL
    elif step != "no":
        more["mount_error"] = (step, getattr(errno, name))
    with Nbd() as n, Server({"/img": DATA}) as s, \
            blocks(s, n, cachefiles=step != "no", force=True, **more) as k:
        front(k, n, s, expected)
        if expected == "nbd":
            reasons = {"no": "/dev/cachefiles", "bind": "bind|on-demand", "fsopen": "erofs|EROFS"}
            assert re.search(reasons.get(step, "on-demand|EROFS"), k.stderr), k.stderr
        else:
            assert re.search("attach", k.stderr), "an attach line does nothing, and nobody says so"


@each("EBUSY", "EPERM", "EACCES")
def nbd_auto_fails(name):
    """front auto: another failure of the open of /dev/cachefiles ends the start as ever"""
    with Nbd() as n, Server({"/img": DATA}) as s, \
            blocks(s, n, open_error=getattr(errno, name), expect_exit=1) as k:
        assert k.wait_exit() == 1 and not n.connected()
        k.wait_log_end()
        assert "/dev/cachefiles" in k.stderr, k.stderr


@each("ENOENT", "EOPNOTSUPP", "ENOBUFS", "EBUSY")
def nbd_auto_bind_fails(name):
    """... and so does another failure of the bind"""
    with Nbd() as n, Server({"/img": DATA}) as s, \
            blocks(s, n, cachefiles=True, bind_error=getattr(errno, name), expect_exit=1) as k:
        assert k.wait_exit() == 1 and not n.connected()


@scenario
def nbd_nothing_to_attach():
    """front auto without any attach line: /dev/cachefiles, whose absence ends the start as ever"""
    with Nbd() as n, Server({"/img": DATA}) as s, blocks(s, n, attach=[], expect_exit=1) as k:
        assert k.wait_exit() == 1 and not k.netlink_fds
        k.wait_log_end()
        assert "/dev/cachefiles" in k.stderr, k.stderr


@scenario
def nbd_nothing_to_attach_is_given():
    """front nbd without any attach line: it is ready, and --attach gives it something"""
    with Nbd() as n, Server({"/img": DATA}) as s, blocks(s, n, "front nbd", attach=[]) as k:
        k.wait_log("nbd")
        status, out, err = tool(k, "--attach", "img")
        assert (status, out, err) == (0, "/dev/nbd0\n", ""), (status, out, err)
        need(n[0], DATA, 512, 4096)
        disconnected(k)


@each("front nbd", "front cachefiles", "front auto")
def nbd_given(word):
    """front nbd and front cachefiles, and auto and a line with a device, on a kernel that has both"""
    line = "img /dev/nbd1" if word == "front auto" else "img"
    expected = "cachefiles" if word == "front cachefiles" else "nbd"
    with Nbd() as n, Server({"/img": DATA}) as s, blocks(s, n, word, attach=[line], cachefiles=True, force=True) as k:
        front(k, n, s, expected)


@scenario
def nbd_attach_tool_under_cachefiles():
    """--attach under front cachefiles: status 1, by name"""
    with Nbd() as n, Server({"/img": DATA}) as s, blocks(s, n, "front cachefiles", cachefiles=True, force=True) as k:
        k.wait_bound()
        k.wait(lambda: k.worker, 10, "a worker")
        status, out, err = tool(k, "--attach", "img")
        assert (status, out) == (1, "") and "cachefiles" in err, (status, out, err)


@scenario
def nbd_url_of_one_file():
    """a URL argument that names one file attaches it"""
    with Nbd() as n, Server({"/dir/img": DATA}) as s:
        with blocks(f"{s.url}dir/img?token", n, attach=[]) as k:
            need(k.attached("img"), DATA, 512, 4096)
            disconnected(k)


@scenario
def nbd_test_option():
    """--test prints the front end on a second line"""
    with tempfile.TemporaryDirectory() as folder:
        for line, expected in ("front nbd", "nbd"), ("front cachefiles", "cachefiles"), ("attach a /dev/nbd3", "nbd"):
            options = [x for d in (line, f"dir {folder}", "status none") for x in ("-o", d)]
            options += ["-F", "0"] if expected == "cachefiles" else []      # the folder may lie in memory
            status, out, err = Program.run("-f", "/dev/null", "--test", *options, "http://127.0.0.1/%c")
            assert status == 0 and out.splitlines()[1:] == [f"front {expected}"], (line, status, out, err)
        status, out, err = Program.run("-f", "/dev/null", "--test", "-o", "front cachefiles", "-o",
                                       "attach a /dev/nbd3", "http://127.0.0.1/%c")
        assert (status, out) == (2, "") and "front cachefiles" in err, (status, out, err)


@scenario
def nbd_prime():
    """--prime under NBD: nothing to do, says so, status 0"""
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = Program.run("-f", "/dev/null", "-o", f"dir {folder}", "-o", "front nbd", "--prime", "img")
        assert status == 0 and out + err, (status, out, err)
