"""Generated code of version 1 of the protocol; `make proto` writes it again."""
