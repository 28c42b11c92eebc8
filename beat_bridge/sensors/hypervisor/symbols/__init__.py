"""Names and types of a guest's kernel, from its image or its RAM alone; no debug package anywhere.

    boot_image     bzImage -> vmlinux                 build        these together: what one build of a kernel is
    kallsyms       .rodata -> names and addresses     cache        builds on disk, by build id
    btf            .BTF -> types                      vmcoreinfo   RAM -> build id, KASLR slide, physical base
    relocations    what the slide moves               profile      a build as it runs in one guest
    symbol_table   all symbols, searched in place     finders      a profile -> drgn

Every byte read here may come from the guest that is under suspicion: counts and offsets are checked before use.
"""
