"""The wire: messages, generated from `v1/*.proto`, and the functions that make and read them."""
