"""`nntune`, also as `python -m nntune`.

Worker processes import this module once more, and are spared the command line.
"""

import sys


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["search"] and _has_workers(f"{' '.join(words)} ") and None not in _streams():
        from nntune.ahead import prepare  # while the command line itself is imported

        prepare()
    from nntune import cli

    cli.main()


def _has_workers(command: str) -> bool:
    """Whether a search will want processes of its own, as far as its words say at a glance."""
    others = ("--dask", "--workers 0 ", "--workers=0 ", "-j 0 ", "-j0 ", "--help ", "-h ")
    return not any(other in command for other in others)


def _streams() -> tuple[object, ...]:
    return sys.stdin, sys.stdout, sys.stderr  # None is one that is closed


if __name__ == "__main__":
    main()
