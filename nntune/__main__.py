"""`python -m nntune`."""

from nntune.cli import main

if __name__ == "__main__":
    main()
