"""Measure how well the bundled model follows its prompts: python scripts/evaluate.py [--limit 40] [--sheet sheet.png]

See `training/evaluate.py`; `--help` lists the options.
"""

from __future__ import annotations

import pack

if __name__ == "__main__":
    pack.hide_scripts()
    pack.mount()
    from opent2v.training.evaluate import main

    main()
