"""`doorwatch demo`: the main job on this machine, live, with a harmless emulator in namespaces of its own."""
