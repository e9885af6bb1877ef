"""A process of its own that acquires a checkpoint: acquirer.py CACHE CHAMPION SOURCE LOG [GO_ON].

It writes a line into ``LOG.came`` when it is about to ask, and into the log for every download that it
begins; in the middle of that it waits until the file is there that lets it go on.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from bakeoff.core.records import Champion
from bakeoff.stores.checkpoints import CheckpointStore


def write_line(path: str, line: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def main(cache: str, champion: str, source: str, log: str, go_on: str = "/") -> None:
    def download(run_id: str, artifact: str, destination: Path) -> Path:
        target = destination / artifact
        target.mkdir()
        write_line(log, f"{run_id} {artifact}")
        for number, path in enumerate(sorted(Path(source).iterdir())):
            shutil.copy(path, target)
            while number == 1 and not Path(go_on).exists():
                time.sleep(0.01)
        return target

    store, asked = CheckpointStore(Path(cache)), Champion.model_validate_json(champion)
    write_line(f"{log}.came", asked.run_id)
    folder = store.acquire(asked, download)
    print(folder)  # noqa: T201 - this is the program's answer


if __name__ == "__main__":
    main(*sys.argv[1:])
