"""Names and types of a guest's kernel, from its image or its RAM alone; no debug package anywhere.

    boot_image     bzImage -> vmlinux            vmcoreinfo   RAM -> build id, KASLR slide, physical base
    elf            vmlinux -> sections           build        the three above -> what one build of a kernel is
    kallsyms       .rodata -> names, addresses   cache        builds on disk, by build id
    btf            .BTF -> types                 profile      a build as it runs in one guest
    relocations    what the slide moves          finders      a profile -> drgn

Every byte read here may come from the guest that is under suspicion: counts and offsets are checked before use.
"""
