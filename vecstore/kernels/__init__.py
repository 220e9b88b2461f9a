"""Hot loops in C++; `_kernels.pyi` describes them. Imports nothing of vecstore."""
