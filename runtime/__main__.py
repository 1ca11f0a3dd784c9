"""`python -m runtime` is `layby`."""

from runtime.cli import main

if __name__ == "__main__":
    main()
