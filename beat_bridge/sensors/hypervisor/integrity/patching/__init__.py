"""In which states the places where the kernel patches itself may be: one kind of place a file.

Each function looks at the places of its kind from `low` up to `high`, and accepts what stands there if the kernel
itself could have written it. What none accepts is nobody's explanation, and is told.
"""
