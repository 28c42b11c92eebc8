// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A harmless stand-in for a module that wraps bpf(2): its kprobe counts the calls and changes nothing. */
#include <linux/kprobes.h>
#include <linux/module.h>

static unsigned long calls;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "How often bpf(2) was entered since loading");

static int count_call(struct kprobe *probe, struct pt_regs *registers)
{
	calls++; /* a lost increment between processors does no harm */
	return 0;
}

static struct kprobe on_bpf = {
	.symbol_name = "__x64_sys_bpf",
	.pre_handler = count_call,
};

static int __init doorwatch_kprobe_init(void)
{
	return register_kprobe(&on_bpf);
}

static void __exit doorwatch_kprobe_exit(void)
{
	unregister_kprobe(&on_bpf);
}

module_init(doorwatch_kprobe_init);
module_exit(doorwatch_kprobe_exit);
MODULE_DESCRIPTION("Counts bpf(2) calls for Doorwatch's tests");
MODULE_LICENSE("Dual MIT/GPL");
