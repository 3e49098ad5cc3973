"""``python -m pdscale.router``."""

import sys

from pdscale.router.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
