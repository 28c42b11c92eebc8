"""Classic BPF: decode a program, follow its accepting paths, say what each demands, judge."""
