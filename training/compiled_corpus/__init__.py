"""The corpus on a CPU: rendering and augmentation compiled to machine code, without torch."""
