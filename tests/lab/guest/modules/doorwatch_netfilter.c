// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A harmless stand-in for a rootkit that listens by netfilter: it counts IPv4 packets and lets all pass. */
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <net/net_namespace.h>

static unsigned long packets;
module_param(packets, ulong, 0444);
MODULE_PARM_DESC(packets, "How many packets were seen since loading");

static unsigned int count_packet(void *private, struct sk_buff *packet, const struct nf_hook_state *state)
{
	packets++; /* a lost increment between processors does no harm */
	return NF_ACCEPT;
}

static const struct nf_hook_ops at_prerouting = {
	.hook = count_packet,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_PRE_ROUTING,
	.priority = NF_IP_PRI_LAST,
};

static int __init doorwatch_netfilter_init(void)
{
	return nf_register_net_hook(&init_net, &at_prerouting);
}

static void __exit doorwatch_netfilter_exit(void)
{
	nf_unregister_net_hook(&init_net, &at_prerouting);
}

module_init(doorwatch_netfilter_init);
module_exit(doorwatch_netfilter_exit);
MODULE_DESCRIPTION("Counts packets for Doorwatch's tests");
MODULE_LICENSE("Dual MIT/GPL");
