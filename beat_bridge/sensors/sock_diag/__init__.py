"""NETLINK_SOCK_DIAG: what the kernel's socket tables say of one network namespace.

Standard library only: a helper process that has no site-packages imports these modules (namespaces.py says why).
"""
