"""Compiling at run time: write vector LLVM IR in Python (`ircode`), compile and run it (`native`)."""
