"""``python -m pdscale``."""

import sys

from pdscale.cli import main

if __name__ == "__main__":
    sys.exit(main())
