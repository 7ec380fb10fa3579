"""`python -m fedjax_rec` is `fedjax-rec`."""

import sys

from fedjax_rec.cli import main

sys.exit(main())
