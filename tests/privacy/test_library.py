"""The accountant: loaded when it is used, quiet, and missed in one line."""

import subprocess
import sys

PRELUDE = """
import sys
from fedjax_rec.base import Mechanism, SamplingEvent
from fedjax_rec import privacy
ledger = privacy.add_rounds(
    (), SamplingEvent("poisson", 1000, 100.0, 1000), [Mechanism("gaussian", 0.6)], 50)
"""


def run(code):
    """What a fresh interpreter prints, and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_importing_loads_no_accountant():
    said, _ = run(
        "import sys, fedjax_rec\n"
        + PRELUDE
        + "print({'dp_accounting', 'jax_privacy'} & set(sys.modules))\n"
        "privacy.epsilon_of(ledger, 1e-5, accountant='rdp')\n"
        "print({'dp_accounting', 'jax_privacy'} & set(sys.modules))\n"
    )
    assert said.split("\n")[:2] == ["set()", "{'dp_accounting'}"]


def test_the_accountants_warnings_do_not_reach_the_user():
    said, complained = run(PRELUDE + "print(privacy.epsilon_of(ledger, 1e-5, accountant='rdp'))")
    assert 10 < float(said) < 40
    assert complained == ""


def test_the_accountants_do_warn():
    _, complained = run(
        "import contextlib\nimport fedjax_rec.privacy.library as library\n"
        "library.quiet = contextlib.nullcontext\n"
        + PRELUDE
        + "privacy.epsilon_of(ledger, 1e-5, accountant='rdp')"
    )
    assert "failed to converge" in complained


def test_without_the_extra_one_line_says_what_to_install():
    said, _ = run(
        "import sys\nsys.modules['dp_accounting'] = None\n"
        + PRELUDE
        + "from fedjax_rec.errors import UserError\n"
        "event = SamplingEvent('all', 9, 9.0, 9)\n"
        "for ask in (\n"
        "    lambda: privacy.epsilon_of(ledger, 1e-5),\n"
        "    lambda: privacy.noise_multiplier_for(event, 1, 1.0, 1e-5),\n"
        "):\n"
        "    try:\n"
        "        ask()\n"
        "    except UserError as error:\n"
        "        print(error)\n"
        "report = privacy.report_of(ledger, 1e-5, clip_norm=1.0, unit='user')\n"
        "print(privacy.in_words(report))\n"
    )
    lines = said.splitlines()
    assert len(lines) == 3
    assert all('pip install "fedjax-rec[privacy]"' in line for line in lines)
    assert lines[-1].startswith("no guarantee: ")
