// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A harmless stand-in for a rootkit that hooks by ftrace: it counts the calls of swapoff(2) and changes nothing. */
#include <linux/ftrace.h>
#include <linux/module.h>

static unsigned long calls;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "How often swapoff(2) was entered since loading");

static void notrace count_call(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			       struct ftrace_regs *registers)
{
	calls++; /* a lost increment between processors does no harm */
}

static struct ftrace_ops on_swapoff = {
	.func = count_call,
	.flags = FTRACE_OPS_FL_RECURSION,
};

static int __init doorwatch_ftrace_init(void)
{
	static unsigned char traced[] __initdata = "__x64_sys_swapoff";
	int error = ftrace_set_filter(&on_swapoff, traced, sizeof(traced) - 1, 0);

	return error ? error : register_ftrace_function(&on_swapoff);
}

static void __exit doorwatch_ftrace_exit(void)
{
	unregister_ftrace_function(&on_swapoff);
	ftrace_free_filter(&on_swapoff);
}

module_init(doorwatch_ftrace_init);
module_exit(doorwatch_ftrace_exit);
MODULE_DESCRIPTION("Counts swapoff(2) calls for Doorwatch's tests");
MODULE_LICENSE("Dual MIT/GPL");
