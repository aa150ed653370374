"""What the compiler makes of a Triton kernel: registers, spills, instructions. Needs no GPU.

`launches(code, capability)` runs `code` in a fresh Python process (Triton's interpreter, which the
other tests use, cannot be switched off once it is on) with a driver that says it is a GPU. Every
kernel that `code` launches is compiled through the ordinary path of Triton, with the arguments the
launcher really gave, so that what is read is what a GPU of that capability would run; nothing runs.
Results of `code` are meaningless: only the launches count.
"""

import collections
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# the mnemonic, up to its first dot -> what it costs
KINDS = {
    "MUFU": "mufu",  # the special function unit: ex2, lg2, rcp, ...; 16 a clock and SM
    **dict.fromkeys(("FFMA", "FMUL", "FADD", "FFMA2", "FMUL2", "FADD2"), "float"),
    "SHFL": "shuffle",
    **dict.fromkeys(("LDS", "STS", "LDSM"), "shared"),
    **dict.fromkeys(("LDL", "STL"), "spill"),
    **dict.fromkeys(("LDG", "STG", "LD", "ST"), "global"),
    **dict.fromkeys(("RED", "ATOM", "ATOMG"), "atomic"),
}


@dataclasses.dataclass(frozen=True)
class Loop:
    """One loop of a kernel, with the loops inside it."""

    start: int  # addresses
    end: int
    instructions: int
    kinds: dict[str, int]
    exp2: int


@dataclasses.dataclass(frozen=True)
class Binary:
    """One compiled kernel. Counts are per thread, over one turn of its main loop."""

    name: str
    constants: dict[str, Any]  # constexpr arguments
    warps: int
    registers: int
    stack: int  # bytes of local memory: spilled registers, in or out of the loop
    shared: int  # bytes
    layouts: list[str]  # "sizePerThread = [1, 1], threadsPerWarp = [1, 32], ..."
    instructions: int  # of the whole kernel
    loop: int  # instructions in the main loop: the innermost one with the most ex2
    kinds: dict[str, int]  # the same, by KINDS; "other" is integer work and control flow
    exp2: int
    loops: list[Loop]  # all of them, by their start

    @property
    def spills(self) -> int:
        """Loads and stores of spilled registers in the main loop."""
        return self.kinds.get("spill", 0)

    def each(self, tile: int) -> float:
        """Instructions per element, for a loop that handles `tile` elements per program."""
        return self.loop * 32 * self.warps / tile


def launches(code: str, capability: int = 90) -> list[Binary]:
    """Compile what `code` launches for sm_`capability` (80, 90, 120, ...), in launch order."""
    return launches_of({"": code}, capability)[""]


def launches_of(cases: dict[str, str], capability: int = 90) -> dict[str, list[Binary]]:
    """The same for several pieces of code that run one after the other in one process."""
    result = subprocess.run(
        [sys.executable, __file__, str(capability)],
        input=json.dumps(cases),
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    found = json.loads(result.stdout.splitlines()[-1])
    return {case: [_from_json(fields) for fields in kernels] for case, kernels in found.items()}


def _from_json(fields: dict[str, Any]) -> Binary:
    return Binary(**(fields | {"loops": [Loop(**loop) for loop in fields["loops"]]}))


def _record(cases: dict[str, str], capability: int) -> dict[str, list[Binary]]:
    """Run the code with every launch turned into a compilation."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    class Driver:
        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return 0

    triton.runtime.driver.set_active(Driver())
    compile_and_launch = JITFunction.run
    found: dict[str, list[Binary]] = {}

    def compile_only(kernel: Any, *args: Any, warmup: bool, **options: Any) -> Any:
        compiled = compile_and_launch(kernel, *args, warmup=True, **options)
        found[case].append(_read(compiled))
        return compiled

    JITFunction.run = compile_only
    for case, code in cases.items():
        found[case] = []
        exec(compile(code, f"<{case}>", "exec"), {})
    return found


def _read(kernel: Any) -> Binary:
    """Disassemble one compiled kernel."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(kernel.asm["cubin"])
        usage, code = (
            subprocess.run(
                [tool, option, file.name], capture_output=True, text=True, check=True
            ).stdout
            for option in ("-res-usage", "-sass")
        )
    # "@!P0 FFMA.FTZ R1, R2, R3, R4 ;" at /*0120*/
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", code, re.MULTILINE)
    instructions = [(int(at, 16), re.sub(r"^@!?U?P\w+\s+", "", text)) for at, text in lines]
    body = _main_loop(instructions)
    numbers = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert numbers is not None, usage
    names = kernel.src.fn.arg_names
    return Binary(
        name=kernel.name,
        constants={
            names[path[0]]: value
            for path, value in kernel.src.constants.items()
            if len(path) == 1 and isinstance(value, int | float | str | None)
        },
        warps=kernel.metadata.num_warps,
        registers=int(numbers[1]),
        stack=int(numbers[2]),
        shared=kernel.metadata.shared,
        layouts=re.findall(r"#ttg\.blocked<\{(.*?)\}>", kernel.asm["ttgir"]),
        instructions=len(instructions),
        loop=len(body),
        kinds=_kinds(body),
        exp2=_exp2(body),
        loops=[
            Loop(start, end, len(inside), _kinds(inside), _exp2(inside))
            for start, end, inside in sorted(_loops(instructions))
        ],
    )


def _kinds(body: list[str]) -> dict[str, int]:
    return dict(
        collections.Counter(KINDS.get(re.split(r"[.\s]", text)[0], "other") for text in body)
    )


def _exp2(body: list[str]) -> int:
    return sum(text.startswith("MUFU.EX2") for text in body)


def _loops(instructions: list[tuple[int, str]]) -> list[tuple[int, int, list[str]]]:
    """Start, end and body of every loop."""
    loops = []
    for at, text in instructions:
        target = re.search(r"^BRA.*?0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < at:
            start = int(target[1], 16)
            body = [other for place, other in instructions if start <= place <= at]
            loops.append((start, at, body))
    return loops


def _main_loop(instructions: list[tuple[int, str]]) -> list[str]:
    """The body of the innermost loop with the most ex2; without a loop, everything.

    A loop around another one that has at least half of its ex2 is not innermost.
    """
    loops = _loops(instructions)

    def innermost(start: int, end: int, body: list[str]) -> bool:
        return not any(
            (start, end) != (s, e) and start <= s and e <= end and 2 * _exp2(b) >= _exp2(body)
            for s, e, b in loops
        )

    found = [body for start, end, body in loops if innermost(start, end, body)]
    everything = [text for _, text in instructions]
    return max(found, key=lambda body: (_exp2(body), len(body)), default=everything)


if __name__ == "__main__":
    recorded = _record(json.load(sys.stdin), int(sys.argv[1])).items()
    results = {case: [dataclasses.asdict(kernel) for kernel in found] for case, found in recorded}
    sys.stdout.write(json.dumps(results))
