/* count.c - a plugin of qemu-user (docs/devel/tcg-plugins.rst there): prints on standard output how
 * many instructions the program has executed. Debian has no header for it. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

struct qemu_plugin_tb;
enum operation { ADD_U64 };
typedef void when_translated(uint64_t id, struct qemu_plugin_tb *block);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, when_translated *call);
void qemu_plugin_register_vcpu_tb_exec_inline(
	struct qemu_plugin_tb *block, enum operation operation, void *counter, uint64_t value);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t id, void *data), void *data);

int qemu_plugin_version = 1;
int qemu_plugin_install(uint64_t id, const void *emulator, int argc, char **argv);

static uint64_t count;

static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(
		block, ADD_U64, &count, qemu_plugin_tb_n_insns(block));
}

static void ended(uint64_t id, void *data)
{
	(void)id, (void)data;
	printf("%" PRIu64 "\n", count);
	fflush(stdout);
}

int qemu_plugin_install(uint64_t id, const void *emulator, int argc, char **argv)
{
	(void)emulator, (void)argc, (void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
