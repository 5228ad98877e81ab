"""The targets of test_fuzz.py under a fuzzer that is guided by what of nntune an input reaches.

    pip install atheris
    python tests/guided_fuzz.py test_a_bundle [-max_total_time=600 ...]

What follows the name goes to libFuzzer. atheris has wheels for Linux and Python 3.11 to 3.13.
"""

import sys


def main() -> None:
    """Feeds one target until it crashes."""
    import atheris

    with atheris.instrument_imports(include=["nntune"]):
        import test_fuzz

        import nntune.bundle
        import nntune.data.dataset
        import nntune.data.reading
        import nntune.study.repair  # noqa: F401
    target = getattr(test_fuzz, sys.argv.pop(1)).hypothesis.inner_test
    atheris.Setup(sys.argv, target)
    with test_fuzz.quick():
        atheris.Fuzz()


if __name__ == "__main__":
    main()
