"""`python -m vlmbench`."""

import sys

from vlmbench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
