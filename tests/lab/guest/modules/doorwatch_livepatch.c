// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A harmless live patch: acct(2), which nobody uses in the lab, is refused. */
#include <linux/errno.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/ptrace.h>

static long refuse(const struct pt_regs *registers)
{
	return -EPERM;
}

static struct klp_func functions[] = {
	{
		.old_name = "__x64_sys_acct",
		.new_func = refuse,
	},
	{ }
};

static struct klp_object objects[] = {
	{
		.funcs = functions, /* no name: the kernel itself */
	},
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init doorwatch_livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit doorwatch_livepatch_exit(void)
{
}

module_init(doorwatch_livepatch_init);
module_exit(doorwatch_livepatch_exit);
MODULE_DESCRIPTION("A live patch for Doorwatch's tests");
MODULE_LICENSE("Dual MIT/GPL");
MODULE_INFO(livepatch, "Y");
