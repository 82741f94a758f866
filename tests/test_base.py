"""The base of the core through Python: random numbers, elementary functions, memory, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import hypothesis.extra.numpy as hnp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ambigmnist as am
from ambigmnist import _ambigcore, config


def in_a_new_process(code: str, timeout: float = 60, **environment: str) -> str:
    """What the code prints; a failure or a hang fails the test."""
    known = {k: v for k, v in os.environ.items() if k not in config.THREAD_VARIABLES}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**known, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# ---------------------------------------------------------------- random numbers


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers_of_random123(counter, key, expected):
    assert _ambigcore.philox4x32(counter, key) == expected


def philox(counter, key):
    """The definition (Salmon et al. 2011), with Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [q >> 32 ^ c[1] ^ k[0], q % 2**32, p >> 32 ^ c[3] ^ k[1], p % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return tuple(c)


words = st.integers(0, 2**32 - 1)


@given(st.tuples(words, words, words, words), st.tuples(words, words))
def test_philox_is_its_definition(counter, key):
    assert _ambigcore.philox4x32(counter, key) == philox(counter, key)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (((0, 0, 0), (0, 0)), TypeError),
        (([0, 0, 0, 0], (0, 0)), TypeError),
        (((0, 0, 0, 2**32), (0, 0)), OverflowError),
        (((0, 0, 0, -1), (0, 0)), OverflowError),
        (((0, 0, 0, 2**70), (0, 0)), OverflowError),
        (((0, 0, 0, 0.5), (0, 0)), TypeError),
        (((0, 0, 0, 0),), TypeError),
    ],
)
def test_philox_refuses(arguments, error):
    with pytest.raises(error):
        _ambigcore.philox4x32(*arguments)


@given(st.integers(0, 500), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_shuffle_is_a_permutation_of_its_arguments_alone(n, seed, epoch):
    order = _ambigcore.shuffle(n, seed, epoch)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(order, _ambigcore.shuffle(n, seed, epoch))


def test_shuffle_is_fisher_yates_over_philox():
    n, seed, epoch = 300, 2**40 + 17, 5
    items = list(range(n))
    for i in range(n - 1, 0, -1):
        word = philox((i, 0, epoch, 2), (seed % 2**32, seed >> 32))
        j = (word[0] << 32 | word[1]) * (i + 1) >> 64
        items[i], items[j] = items[j], items[i]
    assert _ambigcore.shuffle(n, seed, epoch).tolist() == items


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (3, 0, -1), (3, 0, 2**32)])
def test_shuffle_refuses(arguments):
    with pytest.raises(am.ArgumentError, match="expected n >= 0"):
        _ambigcore.shuffle(*arguments)


# ---------------------------------------------------------------- elementary functions

RANGES = {
    "exp": [(-745, 709.7), (-1, 1), (-1e-8, 1e-8)],
    "log": [(5e-324, 1e-300), (0.4, 2.5), (0.999, 1.001), (1e-10, 1e308)],
    "log1p": [(-0.9999, 3), (-1e-3, 1e-3), (-1e-17, 1e-17), (3, 1e300)],
    "sin": [(-7, 7), (-(2**20), 2**20)],
    "cos": [(-7, 7), (-(2**20), 2**20)],
}


@pytest.mark.parametrize("name", RANGES)
def test_elementary_functions_are_within_one_ulp(name):
    rng = np.random.default_rng(20)
    parts = [rng.uniform(low, high, 1500) for low, high in RANGES[name]]
    if name in ("log", "log1p"):
        parts.append(2.0 ** rng.uniform(-1000, 1000, 1500))
    if name in ("sin", "cos"):  # where the reduction cancels most
        parts.append(rng.integers(-600_000, 600_000, 1500) * (np.pi / 2))
    x = np.concatenate(parts)
    y = _ambigcore.elementary(name, x)
    with mpmath.workprec(200):
        exact = [getattr(mpmath, name)(mpmath.mpf(v)) for v in x.tolist()]
        spacing = np.spacing(np.abs(np.array([float(e) for e in exact])))
        off = [
            float(abs(mpmath.mpf(got) - e) / mpmath.mpf(s))
            for got, e, s in zip(y.tolist(), exact, spacing.tolist(), strict=True)
        ]
    worst = int(np.argmax(off))
    assert off[worst] < 1.0, f"{name}({x[worst]!r}) is off by {off[worst]:.3f} ulp"


def test_elementary_functions_at_the_edges():
    inf, nan = np.inf, np.nan
    for name, x, expected in [
        ("exp", [0, -inf, inf, 710, -746, nan], [1, 0, inf, inf, 0, nan]),
        ("log", [1, 0, -1, inf, nan], [0, -inf, nan, inf, nan]),
        ("log1p", [0, -1, -1.5, inf, nan, 5e-324], [0, -inf, nan, inf, nan, 5e-324]),
        ("sin", [0, inf, -inf, nan, 2.0**52], [0, nan, nan, nan, nan]),
        ("cos", [0, inf, -inf, nan, -(2.0**52)], [1, nan, nan, nan, nan]),
    ]:
        got = _ambigcore.elementary(name, np.array(x, dtype=np.float64))
        np.testing.assert_array_equal(got, expected, err_msg=name)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))
def test_elementary_keeps_the_shape_and_leaves_its_argument_alone(x):
    kept = x.copy()
    x.flags.writeable = False
    assert _ambigcore.elementary("exp", x).shape == x.shape
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros(3, np.float32), am.DTypeError),
        ([1.0], am.DTypeError),
        (np.zeros(6)[::2], am.ArgumentError),
        (np.zeros(3, ">f8"), am.ArgumentError),
    ],
)
def test_elementary_refuses_arrays_it_cannot_read(x, error):
    with pytest.raises(error, match="x: expected"):
        _ambigcore.elementary("exp", x)
    with pytest.raises(ValueError, match="expected exp"):
        _ambigcore.elementary("tan", np.zeros(1))


# ---------------------------------------------------------------- memory and floats


def test_allocation_hook_fails_the_nth_call_of_a_real_one():
    """An allocation that fails inside the core is an OutOfMemoryError and leaks nothing."""
    probs = np.full((50, 3), 1 / 3)
    evidence = am.Evidence(probs, np.zeros(50, np.int64))
    am.rank(evidence, k=5)
    before = _ambigcore.alloc_stats()
    failures = 0
    for n in range(1, 30):
        _ambigcore.fail_alloc_at(n, False)
        try:
            am.rank(evidence, k=5)
        except am.OutOfMemoryError:
            failures += 1
        else:
            break
        finally:
            _ambigcore.fail_alloc_at(0, False)
        assert _ambigcore.alloc_stats()[:2] == before[:2]
    assert failures == n - 1
    assert _ambigcore.alloc_stats()[:2] == before[:2]


def test_subnormal_numbers_stay_alive():
    """No object linked in flushes them to zero for the whole process."""
    code = """
        import numpy as np
        import ambigmnist as am
        am.rank(am.Evidence(np.full((4, 2), 0.5)))
        tiny = np.array([5e-324, 2.0**-1074]) * np.ones(2)
        assert (tiny > 0).all() and 5e-324 * 1.0 != 0
        assert np.float32(1e-45) * np.float32(1) != 0
        print("alive")
    """
    assert in_a_new_process(code) == "alive"
    assert _ambigcore.build_info()["fast_math"] is False


# ---------------------------------------------------------------- the pool


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 17])
def test_lowest_failing_chunk_names_the_error(threads):
    _ambigcore.parallel_probe(1000, threads, -1)
    for _ in range(20):
        with pytest.raises(am.ArgumentError, match=r"^chunk 37 failed"):
            _ambigcore.parallel_probe(1000, threads, 37)


def test_the_pool_from_many_python_threads():
    errors = []

    def work():
        for _ in range(200):
            try:
                _ambigcore.parallel_probe(50, 3, 20)
            except am.ArgumentError as error:
                if "chunk 20 " not in str(error):
                    errors.append(error)
            else:
                errors.append("no error")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


FORK = """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a process with threads forks
    from ambigmnist import _ambigcore as core
    core.parallel_probe(100, 3, -1)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            core.parallel_probe(100, 3, -1)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    core.parallel_probe(100, 3, -1)
    print("done")
"""


def test_fork_after_the_pool_was_used():
    assert in_a_new_process(FORK) == "done"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method):
    code = f"""
        import multiprocessing, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from ambigmnist import _ambigcore as core
        if __name__ == "__main__":
            core.parallel_probe(100, 3, -1)
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                print(pool.starmap(core.parallel_probe, [(100, 3, -1)] * 4, chunksize=1))
    """
    assert in_a_new_process(code) == "[None, None, None, None]"


# ---------------------------------------------------------------- how many threads


@pytest.fixture
def unset():
    """The number of threads as in a fresh process, before and after."""
    before = _ambigcore.get_num_threads()
    am.set_num_threads(None)
    yield
    _ambigcore.set_num_threads(before)


def test_the_argument_comes_first_then_the_setting(unset):
    default = config.resolve_threads()
    assert default == am.get_num_threads() >= 1
    am.set_num_threads(default + 3)
    assert config.resolve_threads() == am.get_num_threads() == default + 3
    assert am.show_config(mode="object").threads_from == "set_num_threads"
    assert config.resolve_threads(2) == 2
    assert config.resolve_threads(np.int64(2)) == 2
    assert config.resolve_threads(10**9) == config.MAX_THREADS
    am.set_num_threads(None)
    assert config.resolve_threads() == default


@pytest.mark.parametrize("function", [config.resolve_threads, am.set_num_threads])
def test_a_number_of_threads_must_be_one(function, unset):
    for bad in (0, -1, -(10**30)):
        with pytest.raises(am.ArgumentError, match="threads: expected at least 1"):
            function(bad)
    for bad in (1.0, "2", True, np.bool_(True), [1], np.zeros(2, int)):
        with pytest.raises(am.DTypeError, match="threads: expected an integer"):
            function(bad)
    assert _ambigcore.get_num_threads() == 0


def test_the_environment_in_its_order(tmp_path):
    def default(**environ):
        return config._default_threads(environ, root=tmp_path, cpus=5)

    assert default() == (5, "the CPUs of this process")
    assert default(OMP_NUM_THREADS="3") == (3, "OMP_NUM_THREADS")
    assert default(OMP_NUM_THREADS="3,2") == (3, "OMP_NUM_THREADS")
    both = default(OMP_NUM_THREADS="3", AMBIGMNIST_NUM_THREADS=" 4 ")
    assert both == (4, "AMBIGMNIST_NUM_THREADS")
    assert default(AMBIGMNIST_NUM_THREADS="", OMP_NUM_THREADS="") == default()
    assert default(AMBIGMNIST_NUM_THREADS="100000")[0] == config.MAX_THREADS


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²", "0x2", "1e3", "4,2"])
def test_a_bad_value_in_the_environment_is_ignored_with_a_warning(text, tmp_path):
    environ = {"AMBIGMNIST_NUM_THREADS": text, "OMP_NUM_THREADS": "3"}
    with pytest.warns(UserWarning, match="AMBIGMNIST_NUM_THREADS=.* is ignored"):
        assert config._default_threads(environ, root=tmp_path, cpus=5)[0] == 3


def test_the_environment_is_read_at_first_use_and_warned_of_once():
    code = """
        import os, warnings
        import ambigmnist as am
        os.environ["AMBIGMNIST_NUM_THREADS"] = "many"
        os.environ["OMP_NUM_THREADS"] = "3"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(am.get_num_threads(), am.get_num_threads(), len(caught))
    """
    assert in_a_new_process(code) == "3 3 1"


V2 = "0::/box/inner\n"
V1 = "4:memory:/a\n3:cpu,cpuacct:/box/inner\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        (V2, {}, None),
        (V2, {"box/inner/cpu.max": "max 100000"}, None),
        (V2, {"box/inner/cpu.max": "200000 100000"}, 2),
        (V2, {"box/inner/cpu.max": "150000 100000"}, 2),
        (V2, {"box/inner/cpu.max": "1000 100000"}, 1),
        (V2, {"box/inner/cpu.max": "300000 100000", "box/cpu.max": "200000 100000"}, 2),
        (V2, {"cpu.max": "100000 100000"}, 1),  # a container that sees its own group as the root
        (V2, {"box/inner/cpu.max": "garbage"}, None),
        (V2, {"box/inner/cpu.max": ""}, None),
        (V2, {"box/inner/cpu.max": "100000 0"}, None),
        ("0::/../outside\n", {"cpu.max": "200000 100000"}, 2),
        ("nonsense\n", {"cpu.max": "200000 100000"}, None),
        ("", {}, None),
    ],
)
def test_cgroup_version_2(tmp_path, cgroup, files, expected):
    check_quota(tmp_path, cgroup, {f"sys/fs/cgroup/{k}": v for k, v in files.items()}, expected)


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(
    ("group", "quota", "expected"),
    [("box/inner/", "-1", None), ("box/inner/", "250000", 3), ("box/", "100000", 1), ("", "1", 1)],
)
def test_cgroup_version_1(tmp_path, mount, group, quota, expected):
    where = f"sys/fs/cgroup/{mount}/{group}"
    files = {where + "cpu.cfs_quota_us": quota + "\n", where + "cpu.cfs_period_us": "100000\n"}
    check_quota(tmp_path, V1, files, expected)


def check_quota(root, cgroup, files, expected):
    for path, text in {"proc/self/cgroup": cgroup, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    assert config._cgroup_quota(root) == expected
    threads, source = config._default_threads({}, root=root, cpus=8)
    assert threads == (expected or 8)
    assert ("quota" in source) == (expected is not None)


def test_affinity_counts():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("machine: no CPU affinity on this system")
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import ambigmnist as am
        print(am.get_num_threads())
    """
    assert in_a_new_process(code) == "1"


# ---------------------------------------------------------------- threadpoolctl

LIMITS = """
    {imports}
    config.register_threadpoolctl()
    def ours():
        return [d for d in threadpoolctl.threadpool_info() if d["user_api"] == "ambigmnist"]
    free = am.get_num_threads()
    assert len(ours()) == 1, threadpoolctl.threadpool_info()
    assert ours()[0]["num_threads"] == free and ours()[0]["version"] == am.__version__
    with threadpoolctl.threadpool_limits(1):
        assert config.resolve_threads() == 1 == ours()[0]["num_threads"]
        assert config.resolve_threads(2) == 2
    assert am.get_num_threads() == free
    assert config._ambigcore.get_num_threads() == 0  # the default is a default again
    am.set_num_threads(free + 5)
    with threadpoolctl.threadpool_limits({{"ambigmnist": 2}}):
        assert config.resolve_threads() == 2
    assert am.get_num_threads() == free + 5
    print("limited")
"""


@pytest.mark.parametrize("first", ["ambigmnist", "threadpoolctl"])
def test_threadpool_limits_cover_us(first):
    imports = [
        "import ambigmnist as am; from ambigmnist import config",
        "import threadpoolctl",
    ]
    if first == "threadpoolctl":
        imports.reverse()
    assert in_a_new_process(LIMITS.format(imports="; ".join(imports))) == "limited"


def test_threadpoolctl_is_registered_by_itself():
    code = """
        import {first}
        import {second}
        from ambigmnist import config
        config.resolve_threads()
        print([d["user_api"] for d in threadpoolctl.threadpool_info()].count("ambigmnist"))
    """
    names = ("ambigmnist", "threadpoolctl")
    assert in_a_new_process(code.format(first=names[0], second=names[1])) == "1"
    assert in_a_new_process(code.format(first=names[1], second=names[0])) == "1"


# ---------------------------------------------------------------- what is in force


def test_show_config(capsys, unset):
    assert am.show_config() is None
    text = capsys.readouterr().out
    shown = am.show_config(mode="object")
    assert text == f"{shown!r}\n"
    for fact in (am.__version__, np.__version__, shown.instruction_set, shown.compiler):
        assert fact in text
    assert shown.available[0] == "baseline"
    assert shown.instruction_set in shown.available
    assert f"{shown.threads} (from {shown.threads_from})" in text
    with pytest.raises(am.ArgumentError, match='"print" or "object"'):
        am.show_config(mode="loud")


def test_set_strict():
    before = _ambigcore.get_strict()
    try:
        for strict in (True, False, np.True_):
            am.set_strict(strict)
            assert _ambigcore.get_strict() is bool(strict)
        with pytest.raises(am.DTypeError, match="strict: expected True or False"):
            am.set_strict("no")
        assert _ambigcore.get_strict() is True
    finally:
        am.set_strict(before)


def test_select_isa():
    before = _ambigcore.isa_name()
    try:
        for name in _ambigcore.isa_available():
            _ambigcore.select_isa(name)
            assert _ambigcore.isa_name() == name
        _ambigcore.select_isa("")
        assert _ambigcore.isa_name() == _ambigcore.isa_available()[-1]
        for bad in ("sse9", "Baseline", "\u00e9", "x" * 1000):
            with pytest.raises(am.ArgumentError, match="baseline"):
                _ambigcore.select_isa(bad)
        with pytest.raises(ValueError, match="null"):
            _ambigcore.select_isa("base\0line")
        with pytest.raises(TypeError):
            _ambigcore.select_isa(3)
    finally:
        _ambigcore.select_isa(before)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("alloc_stats", (1,)),
        ("fail_alloc_at", (1,)),
        ("set_num_threads", ()),
        ("set_num_threads", ("2",)),
        ("philox4x32", ()),
        ("shuffle", (1, 2)),
        ("shuffle", (1.5, 2, 3)),
        ("parallel_probe", (1, 2)),
        ("parallel_probe", (1, "x", 2)),
        ("elementary", ("exp",)),
        ("set_strict", ()),
        ("select_isa", ()),
        ("build_info", (1,)),
    ],
)
def test_wrong_arguments_are_type_errors(function, arguments):
    with pytest.raises(TypeError):
        getattr(_ambigcore, function)(*arguments)
