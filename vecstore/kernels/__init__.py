"""Hot loops in C++, which the `.pyi` files describe. Imports nothing of vecstore."""
