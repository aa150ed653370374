"""A small language for writing vector kernels: Python objects that emit LLVM IR as text.

A `Kernel` is one native function. Every arithmetic value is a `Vec`: `lanes` neighboring channels
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

CACHE_LINE = 16  # floats
TABLE = ("tasks_taken", "threads_here", "n_tasks", "all_scratch", "n_scratch")


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
        return self._choose("slt", other)

    def maximum(self, other: Int | int) -> Int:
        return self._choose("sgt", other)

    def _choose(self, comparison: str, other: Int | int) -> Int:
        picked = self.kernel.emit(f"icmp {comparison} i64 {self.name}, {_int(other)}")
        name = self.kernel.emit(f"select i1 {picked}, i64 {self.name}, i64 {_int(other)}")
        return Int(self.kernel, name)


class Ptr:
    """A place in float32 memory; `p + i` is i numbers further."""

    element, bytes = "float", 4

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name

    def __add__(self, numbers: Int | int) -> Ptr:
        text = f"getelementptr {self.element}, ptr {self.name}, i64 {_int(numbers)}"
        return type(self)(self.kernel, self.kernel.emit(text))

    def load(self, mask: Mask | None = None) -> Vec:
        """Read one value a lane, neighbors in memory; 0 in masked-out lanes."""
        k = self.kernel
        return Vec(k, self._load(k.vec, mask))

    def _load(self, kind: str, mask: Mask | None) -> str:
        if mask is None:
            return self.kernel.emit(f"load {kind}, ptr {self.name}, align {self.bytes}")
        k = self.kernel
        text = f"ptr {self.name}, i32 {self.bytes}, {k.mask} {mask.name}, {kind} zeroinitializer"
        return k.call(kind, "llvm.masked.load", ".p0", text)

    def load_everywhere(self) -> Vec:
        """Read one number into every lane."""
        k = self.kernel
        return k.splat(k.emit(f"load float, ptr {self.name}, align 4"))

    def prefetch(self, to_write: bool = False) -> None:
        """Have one `Vec` brought near, so that a later load or store need not wait."""
        k = self.kernel
        k.declared["@llvm.prefetch.p0"] = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"
        for floats in range(0, k.lanes, CACHE_LINE):
            place = (self + floats).name
            text = f"ptr {place}, i32 {int(to_write)}, i32 3, i32 1"  # into every cache, data
            k.line(f"call void @llvm.prefetch.p0({text})")

    def store_past_caches(self, value: Vec) -> None:
        """Write whole cache lines, which then need not be read first; for what is not read soon.

        The place must be a multiple of CACHE_LINE from the start of memory that torch made.
        """
        text = f"store {value.type} {value.name}, ptr {self.name}"
        self.kernel.line(f"{text}, align {4 * CACHE_LINE}, !nontemporal !0")

    def store(self, value: Vec, mask: Mask | None = None) -> None:
        self._store(value.type, value.name, mask)

    def _store(self, kind: str, name: str, mask: Mask | None) -> None:
        if mask is None:
            self.kernel.line(f"store {kind} {name}, ptr {self.name}, align {self.bytes}")
        else:
            text = (
                f"{kind} {name}, ptr {self.name}, i32 {self.bytes}, {self.kernel.mask} {mask.name}"
            )
            self.kernel.call(kind, "llvm.masked.store", ".p0", text, returns="void")


class BfloatPtr(Ptr):
    """A place in bfloat16 memory: each number is the upper half of a float32."""

    element, bytes = "i16", 2

    def load(self, mask: Mask | None = None) -> Vec:
        k = self.kernel
        bits = self._load(f"<{k.lanes} x i16>", mask)
        bits = k.emit(f"zext <{k.lanes} x i16> {bits} to {k.integers}")
        bits = k.emit(f"shl {k.integers} {bits}, splat (i32 16)")
        return Vec(k, k.emit(f"bitcast {k.integers} {bits} to {k.vec}"))

    def load_everywhere(self) -> Vec:
        k = self.kernel
        bits = k.emit(f"load i16, ptr {self.name}, align 2")
        bits = k.emit(f"zext i16 {bits} to i32")
        bits = k.emit(f"shl i32 {bits}, 16")
        return k.splat(k.emit(f"bitcast i32 {bits} to float"))

    def store(self, value: Vec, mask: Mask | None = None) -> None:
        """Write the nearest bfloat16, of two equally near ones the even one; NaN stays NaN."""
        k, kind = self.kernel, self.kernel.integers
        bits = k.emit(f"bitcast {k.vec} {value.name} to {kind}")
        upper = k.emit(f"lshr {kind} {bits}, splat (i32 16)")
        odd = k.emit(f"and {kind} {upper}, splat (i32 1)")
        up = k.emit(f"add {kind} {odd}, splat (i32 32767)")
        sum = k.emit(f"add {kind} {bits}, {up}")
        rounded = k.emit(f"lshr {kind} {sum}, splat (i32 16)")
        nan = k.emit(f"fcmp uno {k.vec} {value.name}, {value.name}")
        quiet = k.emit(f"select {k.mask} {nan}, {kind} splat (i32 32704), {kind} {rounded}")
        short = f"<{k.lanes} x i16>"
        self._store(short, k.emit(f"trunc {kind} {quiet} to {short}"), mask)


class Table:
    """A list of 64-bit integers in memory."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name

    def at(self, index: Int) -> Int:
        place = self.kernel.emit(f"getelementptr i64, ptr {self.name}, i64 {index.name}")
        return Int(self.kernel, self.kernel.emit(f"load i64, ptr {place}, align 8"))


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

    def sqrt(self) -> Vec:
        k = self.kernel
        return Vec(k, k.call(k.vec, "llvm.sqrt", "", f"{k.vec} {self.name}"))

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
            and strides), all others addresses of float32 memory, or of int64 for a `Table`.
        bfloats: Those of the parameters that are addresses of bfloat16 memory.
    """

    def __init__(self, lanes: int, parameters: Sequence[str], bfloats: Sequence[str] = ()) -> None:
        self.lanes, self.parameters, self.bfloats = lanes, parameters, bfloats
        self.vec, self.mask = f"<{lanes} x float>", f"<{lanes} x i1>"
        self.integers = f"<{lanes} x i32>"
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
        lanes, _, element = kind[1:-1].split()
        full = f"@{intrinsic}.v{lanes}{'f32' if element == 'float' else element}{suffix}"
        types = ", ".join(_type(argument) for argument in _split(text))
        self.declared[full] = f"declare {returns or kind} {full}({types})"
        if returns == "void":
            self.line(f"call void {full}({text})")
            return ""
        return self.emit(f"call {kind} {full}({text})")

    def ptr(self, name: str) -> Ptr:
        """The address parameter of this name."""
        return (BfloatPtr if name in self.bfloats else Ptr)(self, f"%{name}")

    def table(self, name: str) -> Table:
        """The integers at the address parameter of this name."""
        return Table(self, f"%{name}")

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
        integers = self.integers
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
        task = self.emit("atomicrmw add ptr %tasks_taken, i64 1 seq_cst")
        left = self.emit(f"icmp slt i64 {task}, %n_tasks")
        self.line(f"br i1 {left}, label %{body}, label %none")
        self.label(body)
        yield Int(self, task)
        self.line(f"br label %{take}")
        self.label("none")
        self.line("ret void")

    def source(self) -> str:
        """The module as LLVM IR text.

        Its function `kernel` takes the address of a table of 64-bit numbers: what TABLE names, then
        the parameters. It unpacks the table and calls `body`, which was written here.
        """
        unpack: list[str] = []
        head = ["ptr %tasks_taken", "i64 %n_tasks", "ptr noalias %scratch"]
        for i, name in enumerate((*TABLE, *self.parameters)):
            if name in TABLE[:2]:  # counters: their places are what is wanted
                unpack.append(f"  %{name} = getelementptr i64, ptr %table, i64 {i}")
                continue
            kind = "i64" if name.startswith("n_") else "ptr"
            unpack.append(f"  %place{i} = getelementptr i64, ptr %table, i64 {i}")
            unpack.append(f"  %{name} = load {kind}, ptr %place{i}, align 8")
            if name in self.parameters:
                head.append(f"i64 %{name}" if kind == "i64" else f"ptr noalias %{name}")
        unpack += [  # each thread has its own scratch
            "  %me = atomicrmw add ptr %threads_here, i64 1 seq_cst",
            "  %mine = mul i64 %me, %n_scratch",
            "  %scratch = getelementptr float, ptr %all_scratch, i64 %mine",
        ]
        return "\n".join(
            [*self.declared.values()]
            + [f"define internal void @body({', '.join(head)}) noinline nounwind {{", "entry:"]
            + [*self.allocas, *self.lines, "}"]
            + ["define void @kernel(ptr %table) nounwind {", *unpack]
            + [f"  call void @body({', '.join(head).replace('noalias ', '')})"]
            + ["  ret void", "}", "!0 = !{i32 1}", ""]
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
