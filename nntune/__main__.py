"""`nntune`, also as `python -m nntune`.

Worker processes import this module once more, and are spared the command line.
"""

import sys


def main() -> None:
    if sys.argv[1:2] == ["search"] and _has_workers(sys.argv) and None not in _streams():
        from nntune.ahead import prepare  # while the command line itself is imported

        prepare()
    from nntune import cli

    cli.main()


def _has_workers(words: list[str]) -> bool:
    """Whether a search will want processes of its own, as far as its words say at a glance."""
    return not any(word.startswith("--dask") or word in ("--help", "-h") for word in words)


def _streams() -> tuple[object, ...]:
    return sys.stdin, sys.stdout, sys.stderr  # None is one that is closed


if __name__ == "__main__":
    main()
