"""The kernels' benchmark: what it counts, what it takes for a limit, what it writes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "kernels" / "bench"
CLIP = (1, 768, 1569, 16)


@pytest.fixture(autouse=True)
def scripts(script):
    """Let tests import the scripts of the benchmark by name."""
    script("timing", BENCH)


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the benchmark in a copy of kernels/, and its README's path."""
    shutil.copytree(BENCH, tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BENCH.parent / "README.md", tmp_path)

    def run(*options):
        command = [sys.executable, tmp_path / "bench" / "run.py", *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run, tmp_path / "README.md"


def measured(ms=4.0):
    """What `run.measure` gives, with one case and one peer."""
    row = {"case": "scan", "shape": "batch 1", "dtype": "float32", "core_ms": 6.0, "rounds": 7}
    ours = row | {"implementation": "ours", "ms": ms, "limit_ms": 1.0, "binds": "vector"}
    return {
        "machine": {"cores": 2},
        "peers": {"mambapy": "1.2.0"},
        "missing": {"transformers": "not there (pip install transformers)"},
        "rounds": 7,
        "load": [0.5, 1.5],
        "limits": "How limits are made.",
        "results": [ours, row | {"implementation": "mambapy", "ms": 10 * ms, "rounds": 1}],
        "failures": [],
    }


def test_a_quick_run_times_every_implementation_and_writes_nothing(run):
    run, readme = run
    before = readme.read_text()
    out = run("--quick", "--cases", "convolution", "--device", "cpu", "--rounds", "5")
    assert "| convolution |" in out and "| convolution + gradient |" in out
    assert "| scan" not in out
    assert "yardstick | naive |" in out
    assert "Medians of 5 interleaved rounds" in out
    assert "Left out" not in out
    assert readme.read_text() == before


def test_a_peer_that_is_not_installed_is_named_with_what_installs_it(monkeypatch):
    import peers

    monkeypatch.setitem(sys.modules, "mambapy", None)  # an import then fails
    found, missing = peers.find("cpu")
    assert "mambapy" not in [peer.name for peer in found]
    assert "pip install mambapy" in missing["mambapy"]


def test_tables_come_from_the_json_file_alone(run):
    run, readme = run
    results = readme.parent / "bench" / "results"
    results.mkdir(exist_ok=True)
    for path in results.glob("*.json"):
        path.unlink()
    (results / "cpu.json").write_text(json.dumps(measured()))
    around = readme.read_text().split("<!-- cpu: ")
    run("--tables")
    page = readme.read_text()
    assert "| scan | 4 | 6 | 1 vector | 25 % | 40* (10×) |" in page
    assert "transformers: not there (pip install transformers)" in page
    assert page.startswith(around[0]) and page.endswith(around[2].split("-->", 1)[1])


def test_a_page_without_the_markers_is_refused():
    import report

    start, end = report.markers("cpu")
    for page in ("", start, f"{end}\n{start}", f"{start}\n{start}\n{end}"):
        with pytest.raises(ValueError, match="needs one line"):
            report.replaced(page, "cpu", "")


def test_implementations_take_turns_and_slow_ones_run_twice_in_all(monkeypatch):
    import timing

    class Clock:
        """A clock that goes on where a test says so."""

        now = 0.0

        def perf_counter(self):
            return self.now

        process_time = perf_counter

        def sleep(self, seconds):
            self.now += seconds

    clock, calls = Clock(), []
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing, "MOST_CALLS", 1)

    def run(name, seconds):
        calls.append(name)
        clock.sleep(seconds)

    runs = {name: lambda name=name: run(name, 0.001) for name in "ab"}
    found = timing.interleaved(runs | {"slow": lambda: run("slow", 7)}, rounds=4)
    assert calls == ["a", "b", "slow", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert found["slow"].rounds == 1 and found["a"].rounds == 4
    assert found["slow"].clock == pytest.approx(7000) == found["slow"].core
    assert found["a"].clock == pytest.approx(1)


def test_instructions_are_counted_in_innermost_loops_only():
    import vector

    text = """
define void @kernel(ptr %p, i64 %n) {
entry:
  %a = load <8 x float>, ptr %p, align 4
  %once = fmul <8 x float> %a, %a
  br label %outer
outer:                                            ; preds = %done, %entry
  %twice = fadd <8 x float> %a, %once
  br label %inner
inner:                                            ; preds = %inner, %outer
  %x = phi <8 x float> [ %a, %outer ], [ %m, %joined ]
  %s = shufflevector <8 x float> %x, <8 x float> poison, <8 x i32> zeroinitializer
  %m = tail call <8 x float> @llvm.fmuladd.v8f32(<8 x float> %s, <8 x float> %x, <8 x float> %a)
  %b = bitcast <8 x float> %m to <8 x i32>
  %e = shl <8 x i32> %b, splat (i32 23)
  %half = shufflevector <8 x float> %m, <8 x float> %x, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  br i1 %c, label %joined, label %other
other:                                            ; preds = %inner
  %d = fdiv <8 x float> %m, %x
  br label %joined
joined:                                           ; preds = %other, %inner
  br i1 %c, label %inner, label %done
done:                                             ; preds = %joined
  br i1 %c, label %outer, label %end
end:                                              ; preds = %done
  ret void
}
"""
    # fma, shl and division of 8 lanes, a shuffle of 4; phi, broadcast and bitcast cost nothing
    assert vector.count(text) == (16, 28, 8)


def test_our_scan_takes_about_as_many_instructions_as_its_formula():
    """exp2 is 12: clamp 2, round 3, polynomial 5 or more, shift, add; and 4 around it."""
    from cases import QUICK, Setting, convolution, scan
    from vector import per_exponential

    setting = Setting(QUICK, torch.float32, "cpu", ())
    forward, both = (per_exponential(scan(setting, grad).runs["ours"]) for grad in (False, True))
    assert forward is not None and 13 < forward[1] < 19 and 7 < forward[0] < forward[1]
    assert both is not None and forward[1] < both[1] < 30
    single = per_exponential(convolution(setting).runs["ours"])
    assert single is not None and 16 < single[1] < 25  # four taps, exp2, division


def test_a_gpus_limits_are_those_of_its_units():
    """132 multiprocessors at 1.98 GHz, 4.3 TB/s: 20 special functions take 1.25 clocks."""
    from limits import Gpu, scan_work

    gpu = Gpu(132, 1.98e9, 4.3e12)
    work = scan_work(CLIP, itemsize=2)
    pairs = 768 * 1569
    assert gpu.limit(work).binds == "SFU"
    assert gpu.limit(work).ms == pytest.approx(1e3 * pairs * 1.25 / (132 * 1.98e9))
    assert work.bytes == pairs * 8 + 2 * 16 * 1569 * 2
    every_state = scan_work(CLIP, itemsize=2, more_floats=16 * pairs)
    assert gpu.limit(every_state).binds == "memory"
    assert gpu.limit(scan_work(CLIP, 2, directions=2)).ms == pytest.approx(
        1e3 * pairs * 38 / 16 / (132 * 1.98e9)
    )
    with_gradient = gpu.limit(scan_work(CLIP, 2, gradient=True))
    assert with_gradient.binds == "FMA"


def test_a_cpus_peak_counts_every_lane_of_every_thread(monkeypatch):
    import timing
    import vector

    second = timing.Timing(clock=0.0, core=1e3, rounds=1)
    monkeypatch.setattr(vector, "interleaved", lambda runs, rounds: dict.fromkeys(runs, second))
    multiplies, operations = vector.peak()
    lanes, rest = divmod(multiplies, vector.TURNS * vector.AGAIN)
    assert rest == 0 and lanes in (16 * 20, 8 * 12)  # one thread; as many as there are registers
    assert operations == multiplies


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_quick_run_on_a_gpu_times_kernels_with_and_without_a_graph(run):
    run, _ = run
    out = run("--quick", "--cases", "scan", "--device", "gpu", "--rounds", "5")
    assert "| scan |" in out and "| scan, CUDA graph |" in out
