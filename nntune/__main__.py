"""`nntune`, also as `python -m nntune`.

Worker processes import this module once more, and are spared the command line.
"""


def main() -> None:
    from nntune import cli

    cli.main()


if __name__ == "__main__":
    main()
