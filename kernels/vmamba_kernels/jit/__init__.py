"""Compiling at run time: write vector LLVM IR in Python, compile it with llvmlite, run it."""
