"""The machines that the daemon is built for (make CROSS=TRIPLET), and their differences."""
import collections
import shutil
import struct

# `processors`: what --version says of the ciphers and, where that is certain, of SHA-256, by what qemu's -cpu takes; ""
# is the one without that option. (Newer emulators have SHA-NI, others not.)
Machine = collections.namedtuple("Machine", "qemu bits big_endian v8_padded read_complete processors page_sizes")

WRITE_1, WRITE_4 = 0x40049801, 0x80049801       # _IOW(0x98, 1, int): _IOC_WRITE is 4 on mips
AES_IN_64, AES_IN_X86 = "aes_ct64, ghash_ctmul64", "aes_x86ni, ghash_pclmul"
SHA_IN_C = "\nSHA-256: BearSSL"
IN_64 = {"": f"{AES_IN_64}, chacha20_ct, poly1305_mul64{SHA_IN_C}"}
IN_32 = {"": f"aes_ct, ghash_ctmul, chacha20_ct, poly1305_ctmul{SHA_IN_C}"}
IN_X86_64 = {"": f"{AES_IN_X86}, chacha20_x4, poly1305_mul64",
             **dict.fromkeys(("max,-aes", "max,-pclmulqdq"), f"{AES_IN_64}, chacha20_x4, poly1305_mul64")}
IN_I686 = {"": f"{AES_IN_X86}, chacha20_sse2, poly1305_ctmul{SHA_IN_C}",
           "n270": f"aes_ct, ghash_ctmul, chacha20_sse2, poly1305_ctmul{SHA_IN_C}", "pentium3": IN_32[""]}
IN_AARCH64 = dict.fromkeys(("", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1", "a64fx"),
                           "aes_armce, ghash_armce, chacha20_x4, poly1305_mul64\nSHA-256: ARMv8 CE")
SMALL, ANY = (4096,), (4096, 16384, 65536)      # page sizes of its kernels, of 4 KiB and more

MACHINES = {
    "x86_64-linux-gnu": Machine("qemu-x86_64", 64, False, True, WRITE_1, IN_X86_64, SMALL),
    "i686-linux-gnu": Machine("qemu-i386", 32, False, False, WRITE_1, IN_I686, SMALL),
    "aarch64-linux-gnu": Machine("qemu-aarch64", 64, False, True, WRITE_1, IN_AARCH64, ANY),
    "arm-linux-gnueabihf": Machine("qemu-arm", 32, False, True, WRITE_1, IN_32, SMALL),
    "riscv64-linux-gnu": Machine("qemu-riscv64", 64, False, True, WRITE_1, IN_64, SMALL),
    "mips-linux-gnu": Machine("qemu-mips", 32, True, True, WRITE_4, IN_32, ANY),
    "mipsel-linux-gnu": Machine("qemu-mipsel", 32, False, True, WRITE_4, IN_32, ANY),
    "s390x-linux-gnu": Machine("qemu-s390x", 64, True, True, WRITE_1, IN_64, SMALL),
}


class Target:
    """The machine of the program under test: this one, or since emulate() another."""
    emulator = []                   # runs the program; qemu-user makes its calls as this machine's
    order = "="                     # of the bytes in messages
    padded = True                   # the READ of v8: its numbers of 64 bits are aligned to 8 bytes
    read_complete = WRITE_1


def emulate(triplet):
    """From now on programs are of that machine."""
    machine = MACHINES[triplet]
    Target.emulator, Target.order = [shutil.which(machine.qemu)], ">" if machine.big_endian else "<"
    Target.padded, Target.read_complete = machine.v8_padded, machine.read_complete


def pack(form, *values):
    """Bytes as the program's machine has them."""
    return struct.pack(Target.order + form, *values)
