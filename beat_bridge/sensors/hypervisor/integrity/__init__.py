"""Kernel integrity: is every byte of code what its build says, but for what the kernel itself may write there?

A stretch of code as it is and as it should be (`stretch`), the places where a build says that the kernel patches
itself (`sites`), the states that each kind of place may be in (`patching`, one kind a file), and what is left when all
that is explained (`verifying`). On these stand three sensors (`kernel_text`, `module_text`, `read_only_data`) and a
`baseline` of one boot, from which any later change is drift.
"""
