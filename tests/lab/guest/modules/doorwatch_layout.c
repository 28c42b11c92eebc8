// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What the compiler and the running kernel say of their own layout: a second source for whoever reads from outside. */
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/radix-tree.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

static unsigned long task_tasks = offsetof(struct task_struct, tasks);
module_param(task_tasks, ulong, 0444);
MODULE_PARM_DESC(task_tasks, "Offset of task_struct.tasks");

static unsigned long module_list = offsetof(struct module, list);
module_param(module_list, ulong, 0444);
MODULE_PARM_DESC(module_list, "Offset of module.list");

static unsigned long module_name_at = offsetof(struct module, name);
module_param(module_name_at, ulong, 0444);
MODULE_PARM_DESC(module_name_at, "Offset of module.name");

static unsigned long task;
module_param(task, ulong, 0444);
MODULE_PARM_DESC(task, "Virtual address of the task_struct asked for last");

static unsigned long task_sibling = offsetof(struct task_struct, sibling);
module_param(task_sibling, ulong, 0444);
MODULE_PARM_DESC(task_sibling, "Offset of task_struct.sibling");

static unsigned long task_children = offsetof(struct task_struct, children);
module_param(task_children, ulong, 0444);
MODULE_PARM_DESC(task_children, "Offset of task_struct.children");

static unsigned long pid_slot;
module_param(pid_slot, ulong, 0444);
MODULE_PARM_DESC(pid_slot, "Virtual address of the place in the pid table that leads to the process asked for last");

static int find_task(const char *value, const struct kernel_param *parameter)
{
	struct task_struct *found;
	struct pid *pid;
	int number;
	int error = kstrtoint(value, 10, &number);

	if (error)
		return error;
	pid = find_get_pid(number);
	found = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!found)
		return -ESRCH;
	task = (unsigned long)found;
	rcu_read_lock();
	pid_slot = (unsigned long)radix_tree_lookup_slot(&init_pid_ns.idr.idr_rt, number - init_pid_ns.idr.idr_base);
	rcu_read_unlock();
	put_task_struct(found);
	return 0;
}

static const struct kernel_param_ops find_ops = { .set = find_task };
module_param_cb(find, &find_ops, NULL, 0200);
MODULE_PARM_DESC(find, "Write a process id to have its task_struct's address in the parameter task");

static int __init doorwatch_layout_init(void)
{
	return 0;
}

static void __exit doorwatch_layout_exit(void)
{
}

module_init(doorwatch_layout_init);
module_exit(doorwatch_layout_exit);
MODULE_DESCRIPTION("Tells Doorwatch's tests of the kernel's layout");
MODULE_LICENSE("Dual MIT/GPL");
