"""Walkers: what a running Linux kernel's own structures say, read from outside.

Each module holds one idea under the kernel's own name for it, as small generators over a drgn program. Layouts come
from the kernel's BTF; where a kernel arranges a thing in another way, the walker asks the types which it is, never the
version. The guest may be hostile: every walk is bounded and notices a cycle, and what cannot be read is counted.
"""
