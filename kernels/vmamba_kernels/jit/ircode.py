"""A small language for writing vector kernels: Python objects that emit LLVM IR as text.

A `Kernel` is one native function. Every arithmetic value is a `Vec`: `lanes` neighbouring channels
in float32, so that `a * b + c` reads like the maths and works on all lanes at once. `Int` is a
64-bit count or offset, `Ptr` a place in memory, counted in floats. Loops and conditions are `with`
blocks; what changes inside a loop lives in a `Var`, which LLVM turns into a register.

Multiply-add is written `fma(a, b, c)` and becomes one instruction where the machine has it. Nothing
else may be fused or reordered (no fast-math flags), so one kernel gives the same bits as another
that does the same operations, whatever surrounds them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Int:
    """A 64-bit integer; `+ - *` with another one or a Python int."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name

    def _binary(self, op: str, other: Int | int) -> Int:
        return Int(self.kernel, self.kernel.emit(f"{op} i64 {self.name}, {_int(other)}"))

    def __add__(self, other: Int | int) -> Int:
        return self._binary("add", other)

    def __sub__(self, other: Int | int) -> Int:
        return self._binary("sub", other)

    def __mul__(self, other: Int | int) -> Int:
        return self._binary("mul", other)

    def __floordiv__(self, other: Int | int) -> Int:
        """Quotient of two integers that are not negative."""
        return self._binary("udiv", other)

    def __mod__(self, other: Int | int) -> Int:
        return self._binary("urem", other)

    def minimum(self, other: Int | int) -> Int:
        less = self.kernel.emit(f"icmp slt i64 {self.name}, {_int(other)}")
        name = self.kernel.emit(f"select i1 {less}, i64 {self.name}, i64 {_int(other)}")
        return Int(self.kernel, name)


class Ptr:
    """A place in memory; `p + i` is i floats further."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name

    def __add__(self, floats: Int | int) -> Ptr:
        text = f"getelementptr float, ptr {self.name}, i64 {_int(floats)}"
        return Ptr(self.kernel, self.kernel.emit(text))

    def load(self, mask: Mask | None = None) -> Vec:
        """Read one value a lane, neighbours in memory; 0 in masked-out lanes."""
        k = self.kernel
        if mask is None:
            return Vec(k, k.emit(f"load {k.vec}, ptr {self.name}, align 4"))
        text = f"ptr {self.name}, i32 4, {k.mask} {mask.name}, {k.vec} zeroinitializer"
        return Vec(k, k.call(k.vec, "llvm.masked.load", ".p0", text))

    def load_everywhere(self) -> Vec:
        """Read one number into every lane."""
        k = self.kernel
        return k.splat(k.emit(f"load float, ptr {self.name}, align 4"))

    def store(self, value: Vec, mask: Mask | None = None) -> None:
        k = self.kernel
        if mask is None:
            k.line(f"store {value.type} {value.name}, ptr {self.name}, align 4")
        else:
            text = f"{k.vec} {value.name}, ptr {self.name}, i32 4, {k.mask} {mask.name}"
            k.call(k.vec, "llvm.masked.store", ".p0", text, returns="void")


class Mask:
    """Which lanes take part."""

    def __init__(self, name: str) -> None:
        self.name = name


class Vec:
    """One float32 a lane; `+ - * /` with another one or a Python number."""

    def __init__(self, kernel: Kernel, name: str, type: str | None = None) -> None:
        self.kernel, self.name, self.type = kernel, name, type or kernel.vec

    def _binary(self, op: str, other: Vec | float) -> Vec:
        text = f"{op} {self.type} {self.name}, {_float(other)}"
        return Vec(self.kernel, self.kernel.emit(text), self.type)

    def __add__(self, other: Vec | float) -> Vec:
        return self._binary("fadd", other)

    def __sub__(self, other: Vec | float) -> Vec:
        return self._binary("fsub", other)

    def __mul__(self, other: Vec | float) -> Vec:
        return self._binary("fmul", other)

    def __truediv__(self, other: Vec | float) -> Vec:
        return self._binary("fdiv", other)

    def _choose(self, comparison: str, other: float) -> Vec:
        k, number = self.kernel, _float(other)
        picked = k.emit(f"fcmp {comparison} {self.type} {self.name}, {number}")
        text = f"select {k.mask} {picked}, {self.type} {number}, {self.type} {self.name}"
        return Vec(k, k.emit(text), self.type)

    def at_least(self, low: float) -> Vec:
        """max(self, low); NaN stays NaN."""
        return self._choose("olt", low)

    def at_most(self, high: float) -> Vec:
        """min(self, high); NaN stays NaN."""
        return self._choose("ogt", high)

    def abs(self) -> Vec:
        k = self.kernel
        return Vec(k, k.call(k.vec, "llvm.fabs", "", f"{k.vec} {self.name}"))

    def where_negative(self, yes: Vec, no: Vec) -> Vec:
        """`yes` in the lanes where self < 0, else `no`."""
        k = self.kernel
        picked = k.emit(f"fcmp olt {k.vec} {self.name}, zeroinitializer")
        return Vec(k, k.emit(f"select {k.mask} {picked}, {k.vec} {yes.name}, {k.vec} {no.name}"))

    def shuffle(self, other: Vec, picks: Sequence[int]) -> Vec:
        """New lanes from the lanes of self, then those of other."""
        text = ", ".join(f"i32 {pick}" for pick in picks)
        name = self.kernel.emit(
            f"shufflevector {self.type} {self.name}, {self.type} {other.name}, "
            f"<{len(picks)} x i32> <{text}>"
        )
        return Vec(self.kernel, name, f"<{len(picks)} x float>")


class Var:
    """A `Vec` that a loop may change."""

    def __init__(self, kernel: Kernel, value: Vec | float) -> None:
        self.kernel = kernel
        self.name = kernel.fresh()
        kernel.allocas.append(f"  {self.name} = alloca {kernel.vec}")
        self.set(value)

    def get(self) -> Vec:
        return Vec(self.kernel, self.kernel.emit(f"load {self.kernel.vec}, ptr {self.name}"))

    def set(self, value: Vec | float) -> None:
        self.kernel.line(f"store {self.kernel.vec} {_float(value)}, ptr {self.name}")


class Kernel:
    """One native function that takes tasks from a shared counter until none is left.

    Args:
        lanes: Channels in one `Vec`; a power of two.
        parameters: Names in the order of the call. Those starting with "n_" are integers (counts
            and strides), all others addresses of float32 memory.
    """

    def __init__(self, lanes: int, parameters: Sequence[str]) -> None:
        self.lanes, self.parameters = lanes, parameters
        self.vec, self.mask = f"<{lanes} x float>", f"<{lanes} x i1>"
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.declared: dict[str, str] = {}
        self.names = 0
        self.block = "entry"

    def fresh(self, prefix: str = "%v") -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def emit(self, text: str) -> str:
        name = self.fresh()
        self.line(f"{name} = {text}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def call(self, kind: str, intrinsic: str, suffix: str, text: str, returns: str = "") -> str:
        full = f"@{intrinsic}.v{kind[1:].split()[0]}f32{suffix}"
        types = ", ".join(_type(argument) for argument in _split(text))
        self.declared[full] = f"declare {returns or kind} {full}({types})"
        if returns == "void":
            self.line(f"call void {full}({text})")
            return ""
        return self.emit(f"call {kind} {full}({text})")

    def ptr(self, name: str) -> Ptr:
        """The address parameter of this name."""
        return Ptr(self, f"%{name}")

    def int(self, name: str) -> Int:
        """The integer parameter of this name."""
        return Int(self, f"%{name}")

    def splat(self, scalar: str) -> Vec:
        one = self.emit(f"insertelement {self.vec} poison, float {scalar}, i64 0")
        text = f"{self.vec} {one}, {self.vec} poison, <{self.lanes} x i32> zeroinitializer"
        return Vec(self, self.emit(f"shufflevector {text}"))

    def number(self, value: float) -> Vec:
        return Vec(self, _float(value))

    def first_lanes(self, count: Int) -> Mask:
        """The mask of the first `count` lanes."""
        small = self.emit(f"trunc i64 {count.minimum(self.lanes).name} to i32")
        integers = f"<{self.lanes} x i32>"
        one = self.emit(f"insertelement {integers} poison, i32 {small}, i64 0")
        text = f"{integers} {one}, {integers} poison, {integers} zeroinitializer"
        every = self.emit(f"shufflevector {text}")
        lane = "<" + ", ".join(f"i32 {i}" for i in range(self.lanes)) + ">"
        return Mask(self.emit(f"icmp slt {integers} {lane}, {every}"))

    @contextmanager
    def loop(self, count: Int) -> Iterator[Int]:
        """Run the body for 0, 1, ... count - 1; at least once."""
        body, done = self.fresh("loop"), self.fresh("done")
        index, after = self.fresh(), self.fresh()
        before = self.block
        self.line(f"br label %{body}")
        self.label(body)
        phi = len(self.lines)  # the block that jumps back is known only after the body
        self.lines.append("")
        yield Int(self, index)
        self.lines[phi] = f"  {index} = phi i64 [0, %{before}], [{after}, %{self.block}]"
        self.line(f"{after} = add i64 {index}, 1")
        again = self.emit(f"icmp slt i64 {after}, {count.name}")
        self.line(f"br i1 {again}, label %{body}, label %{done}")
        self.label(done)

    @contextmanager
    def when_given(self, place: Ptr) -> Iterator[None]:
        """Run the body unless the address is null."""
        with self._when(f"icmp ne ptr {place.name}, null"):
            yield

    @contextmanager
    def when_not_negative(self, value: Int) -> Iterator[None]:
        """Run the body if value >= 0."""
        with self._when(f"icmp sge i64 {value.name}, 0"):
            yield

    @contextmanager
    def _when(self, condition: str) -> Iterator[None]:
        body, done = self.fresh("when"), self.fresh("done")
        test = self.emit(condition)
        self.line(f"br i1 {test}, label %{body}, label %{done}")
        self.label(body)
        yield
        self.line(f"br label %{done}")
        self.label(done)

    @contextmanager
    def tasks(self) -> Iterator[Int]:
        """Run the body for every task this thread gets from the shared counter."""
        take, body = self.fresh("take"), self.fresh("task")
        self.line(f"br label %{take}")
        self.label(take)
        task = self.emit("atomicrmw add ptr %counter, i64 1 seq_cst")
        left = self.emit(f"icmp slt i64 {task}, %n_tasks")
        self.line(f"br i1 {left}, label %{body}, label %none")
        self.label(body)
        yield Int(self, task)
        self.line(f"br label %{take}")
        self.label("none")
        self.line("ret void")

    def source(self) -> str:
        """The module as LLVM IR text; its function is called `kernel`."""
        kinds = [("i64 %" if p.startswith("n_") else "ptr noalias %") + p for p in self.parameters]
        head = ", ".join(["ptr %counter", "i64 %n_tasks", "ptr noalias %scratch", *kinds])
        return "\n".join(
            [*self.declared.values(), f"define void @kernel({head}) nounwind {{", "entry:"]
            + [*self.allocas, *self.lines, "}", ""]
        )


def fma(a: Vec, b: Vec | float, c: Vec | float) -> Vec:
    """a * b + c, rounded once where the machine can."""
    text = ", ".join(f"{a.type} {_float(x)}" for x in (a, b, c))
    return Vec(a.kernel, a.kernel.call(a.type, "llvm.fmuladd", "", text), a.type)


def _float(value: Vec | float) -> str:
    if isinstance(value, Vec):
        return value.name
    rounded = struct.unpack("f", struct.pack("f", value))[0]
    return f"splat (float 0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X})"


def _int(value: Int | int) -> str:
    return value.name if isinstance(value, Int) else str(value)


def _split(text: str) -> list[str]:
    """Cut call arguments at the commas between them (constants hold none)."""
    return text.split(", ")


def _type(argument: str) -> str:
    """The type in front of one call argument."""
    return argument[: argument.index(">") + 1] if argument[0] == "<" else argument.split()[0]
