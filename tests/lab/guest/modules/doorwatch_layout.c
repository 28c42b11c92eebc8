// SPDX-License-Identifier: GPL-2.0
/* What the compiler and the running kernel say of their own layout: a second source for whoever reads from outside. */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched.h>

static unsigned long task_tasks = offsetof(struct task_struct, tasks);
module_param(task_tasks, ulong, 0444);
MODULE_PARM_DESC(task_tasks, "Offset of task_struct.tasks");

static unsigned long direct_map; /* with KASLR it is known only at run time */
module_param(direct_map, ulong, 0444);
MODULE_PARM_DESC(direct_map, "Virtual address of physical address 0");

static unsigned long task;
module_param(task, ulong, 0444);
MODULE_PARM_DESC(task, "Virtual address of the task_struct asked for last");

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
	put_task_struct(found);
	return 0;
}

static const struct kernel_param_ops find_ops = { .set = find_task };
module_param_cb(find, &find_ops, NULL, 0200);
MODULE_PARM_DESC(find, "Write a process id to have its task_struct's address in the parameter task");

static int __init doorwatch_layout_init(void)
{
	direct_map = PAGE_OFFSET;
	return 0;
}

static void __exit doorwatch_layout_exit(void)
{
}

module_init(doorwatch_layout_init);
module_exit(doorwatch_layout_exit);
MODULE_DESCRIPTION("Tells Doorwatch's tests of the kernel's layout");
MODULE_LICENSE("GPL");
