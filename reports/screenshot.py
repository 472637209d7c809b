"""Old name of ``tools.screenshot``, kept for one release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tools.screenshot", run_name="__main__", alter_sys=True)
