"""`python -m workflow` is `tumorline`."""

from workflow.cli import main

if __name__ == "__main__":
    main()
