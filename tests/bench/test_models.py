"""The benchmark of whole models: what it measures again, what it leaves out, what it writes."""

import json
import sys

import pytest

GIB = 2**30


@pytest.fixture
def bench(script):
    return script("models")


class Worker:
    """Stands in for the processes: a run takes a second and a GiB per 8 frames."""

    def __init__(self, growth=1):
        self.jobs, self.growth = [], growth

    def __call__(self, kind, job, timeout):
        self.jobs.append((kind, job))
        if kind == "time":
            return {
                "seconds": {n: [2.0 - i] * job["rounds"] for i, n in enumerate(job["models"])},
                "load": [0.5, 1.5],
            }
        size = (job["frames"] / 8) ** self.growth
        above = int(size * GIB)
        return {
            "above_loaded_bytes": above,
            "peak_bytes": above + GIB,
            "seconds": size,
            "parameters": 26_000_000,
        }


@pytest.fixture
def sweep(bench, tmp_path):
    """Return a function that runs a sweep over `results` and gives its worker's jobs."""

    def sweep(results, *options, models=("kaist_small", "videomae_s"), worker=None, save=None):
        worker = worker or Worker()
        arguments = ["--modes", "forward", "--dtypes", "float32", "--memory-gib", "16", *options]
        read = bench.read_options([*arguments, "--output", str(tmp_path)])
        for part in ("memory", "time"):
            results.setdefault(part, {})
        bench.Sweep(results, read, list(models), worker, save or (lambda: None)).run()
        return worker.jobs

    return sweep


def test_each_cell_is_measured_once(sweep):
    results = {}
    jobs = sweep(results, "--frames", "8", "16")
    assert [(kind, job["frames"], job.get("model")) for kind, job in jobs] == [
        ("memory", 8, "kaist_small"),
        ("memory", 8, "videomae_s"),
        ("time", 8, None),
        ("memory", 16, "kaist_small"),
        ("memory", 16, "videomae_s"),
        ("time", 16, None),
    ]
    assert sweep(results, "--frames", "8", "16") == []


def test_another_run_measures_only_what_is_missing(sweep):
    results = {}
    sweep(results, "--frames", "8")
    jobs = sweep(results, "--frames", "8", "16")
    assert {job["frames"] for _, job in jobs} == {16}


def test_what_is_measured_is_saved_before_the_next_cell(sweep):
    class Dies(Worker):
        def __call__(self, kind, job, timeout):
            if job["frames"] == 16:
                raise KeyboardInterrupt
            return super().__call__(kind, job, timeout)

    results, saved = {}, []
    with pytest.raises(KeyboardInterrupt):
        sweep(
            results,
            "--frames", "8", "16",
            worker=Dies(),
            save=lambda: saved.append(json.dumps(results)),
        )  # fmt: skip
    kept = json.loads(saved[-1])
    assert kept["time"]["forward/float32/8"]["seconds"].keys() == {"kaist_small", "videomae_s"}
    assert {job["frames"] for _, job in sweep(kept, "--frames", "8", "16")} == {16}


def test_a_peer_that_comes_later_is_timed_beside_all_the_others(sweep):
    results = {}
    sweep(results, "--frames", "8", models=["kaist_small"])
    jobs = sweep(results, "--frames", "8")
    assert [kind for kind, _ in jobs] == ["memory", "time"]
    assert jobs[0][1]["model"] == "videomae_s"
    assert jobs[1][1]["models"] == ["kaist_small", "videomae_s"]


def test_timing_one_model_alone_does_not_throw_away_a_comparison(sweep):
    results = {}
    sweep(results, "--frames", "8")
    assert sweep(results, "--frames", "8", models=["kaist_small"]) == []


def test_what_would_not_fit_into_memory_is_not_tried(sweep):
    results = {}
    jobs = sweep(results, "--frames", "8", "16", "32", "64", worker=Worker(growth=2))
    assert {job["frames"] for _, job in jobs} == {8, 16}
    left_out = results["memory"]["forward/float32/32/kaist_small"]["left_out"]
    assert left_out.startswith("would need about 17 GiB, judged by shorter clips; 16.0 GiB")
    assert "32 frames already" in results["memory"]["forward/float32/64/kaist_small"]["left_out"]


def test_what_would_take_too_long_is_not_tried(sweep):
    results = {}
    jobs = sweep(results, "--frames", "8", "16", "32", "--run-seconds", "3")
    assert {job["frames"] for _, job in jobs} == {8, 16}
    left_out = results["memory"]["forward/float32/32/videomae_s"]["left_out"]
    assert left_out.startswith("one run would take about 4 s")


def test_what_was_left_out_is_tried_again_when_more_is_allowed(sweep):
    results = {}
    sweep(results, "--frames", "8", "16", "32", "--run-seconds", "3")
    assert sweep(results, "--frames", "8", "16", "32", "--run-seconds", "2") == []
    jobs = sweep(results, "--frames", "8", "16", "32", "--run-seconds", "10")
    assert {job["frames"] for _, job in jobs} == {32}


def test_one_model_that_does_not_fit_leaves_the_others(sweep):
    class Full(Worker):
        def __call__(self, kind, job, timeout):
            if job.get("model") == "videomae_s":
                return {"left_out": "does not fit into 16.0 GiB"}
            return super().__call__(kind, job, timeout)

    results = {}
    jobs = sweep(results, "--frames", "8", worker=Full())
    assert jobs[-1][0] == "time" and jobs[-1][1]["models"] == ["kaist_small"]


@pytest.mark.parametrize(("seconds", "rounds"), [("4000", 5), ("16", 3), ("20", 4)])
def test_long_cells_get_fewer_rounds_but_never_less_than_three(sweep, seconds, rounds):
    jobs = sweep({}, "--frames", "16", "--cell-seconds", seconds)
    assert jobs[-1][1]["rounds"] == rounds


def test_the_tables_hold_ratios_within_rounds_and_say_what_is_missing(bench):
    memory = {"peak_bytes": 2 * GIB, "above_loaded_bytes": GIB, "parameters": 26_200_000}
    results = {
        "machine": dict.fromkeys([*bench.machine("cpu")], "?"),
        "memory": {
            f"forward/float32/{n}/{name}": memory | {"revision": "abc"}
            for n in (8, 16, 32)
            for name in ("kaist_small", "videomae_s")
        },
        "time": {
            f"forward/float32/{n}": {
                # the second half of the rounds met a busy machine
                "seconds": {"kaist_small": [n, n, 3 * n], "videomae_s": [2 * n, 6 * n, 6 * n]},
                "load": [0.5, 2.5],
                "revision": "abc",
            }
            for n in (8, 16, 32)
        },
    }
    results["memory"]["forward/float32/64/videomae_s"] = {"left_out": "too big", "revision": "d"}
    text = bench.tables(results, {"videoswin_t": "torchvision is not installed here"})
    assert "| VideoSwin-T | not measured | torchvision is not installed here |" in text
    assert "| kaist_small | 26.2 M |" in text
    assert "| 8 | 8 | 48 | 0.5 |" in text
    assert "| exponent | 1.00 ± 0.00 | 1.00 ± 0.00 |  |" in text
    assert "| 8 | 2,048 (1,024) | 2,048 (1,024) |" in text
    assert "- forward, float32, 64, videomae_s: too big" in text
    assert "Load of the machine while timing: 0.5 to 2.5." in text
    assert "Revisions measured: abc, d." in text


def test_growth_is_taken_from_the_last_two_points_and_is_at_most_quadratic(bench):
    assert bench.extrapolated([(8, 1.0)], 16) == pytest.approx(2)
    assert bench.extrapolated([(8, 1.0), (16, 2**1.5)], 32) == pytest.approx(8)
    assert bench.extrapolated([(8, 1.0), (16, 100.0)], 32) == pytest.approx(400)
    assert bench.extrapolated([(8, 1.0), (16, 0.5)], 32) == pytest.approx(1)


def test_results_of_another_machine_are_not_mixed_in(bench, tmp_path):
    facts = bench.machine("cpu") | {"threads": 77}
    (tmp_path / "models.json").write_text(
        json.dumps({"machine": facts, "memory": {}, "time": {}}), encoding="utf-8"
    )
    with pytest.raises(SystemExit, match=r"another machine or version \(threads differ\)"):
        bench.main(["--output", str(tmp_path)])


@pytest.mark.parametrize("mode", ["forward", "training"])
def test_a_worker_measures_a_process_of_its_own(bench, mode):
    """A short clip of the real model: 26 M weights, so at least 100 MB are resident."""
    job = {"model": "kaist_small", "frames": 2, "mode": mode, "dtype": "float32"}
    job |= {"device": "cpu", "limit": 8 * GIB}
    found = bench.in_a_process("memory", job, timeout=600)
    assert found["peak_bytes"] > 4 * found["parameters"] > 4 * 25_000_000
    assert 0 < found["above_loaded_bytes"] < found["peak_bytes"] and found["seconds"] > 0
    if mode == "training":  # gradients and AdamW's two moments
        assert found["above_loaded_bytes"] > 3 * 4 * found["parameters"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds to the limit")
def test_memory_that_is_not_there_is_a_reason_and_no_crash(bench):
    """A training step needs about 2 GiB; importing what it needs, less than half of one."""
    job = {"model": "kaist_small", "frames": 8, "mode": "training", "dtype": "float32"}
    job |= {"device": "cpu", "limit": GIB}
    found = bench.in_a_process("memory", job, timeout=600)
    assert found["left_out"] == "does not fit into 1.0 GiB"
