"""Environment variables of child processes: those that runtimes need, and no secret of the caller.

Foreign models run in these processes, and some bring code. Secrets have too many names for a list, so the
names that pass are listed instead.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from bakeoff.measure.model.user_code import CODE_PATH_VARIABLE, list_code_folders

# Patterns of names. A prefix stands here only if it belongs to a library, a driver or the system.
ALLOWED = (
    # The account, its folders, its language, its terminal.
    "HOME", "USER", "LOGNAME", "SHELL", "PATH", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LANGUAGE", "LC_*",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TERM", "COLUMNS", "LINES", "NO_COLOR",
    # The dynamic loader, the allocator, the compilers that compiled models use.
    "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_*", "GLIBC_TUNABLES", "MALLOC_*", "TCMALLOC_*", "CC", "CXX",
    "CPATH", "LIBRARY_PATH",
    # Python itself, and what an environment of it needs.
    "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHONMALLOC",
    "PYTHONWARNINGS", "PYTHONFAULTHANDLER", "PYTHONOPTIMIZE", "PYTHONHASHSEED", "PYTHONUNBUFFERED",
    "PYTHON_GIL", "PYTHON_JIT", "PYTHON_CPU_COUNT", "VIRTUAL_ENV", "CONDA_PREFIX",
    # Threads.
    "OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "VECLIB_*", "NUMEXPR_*", "TBB_*",
    "RAYON_*", "DNNL_*", "ONEDNN_*",
    # Devices.
    "CUDA_*", "CUDNN_*", "CUBLAS_*", "NCCL_*", "NVIDIA_*", "HIP_*", "HSA_*", "ROCM_*", "ROCR_*", "MIOPEN_*",
    "ZE_*", "ONEAPI_*", "SYCL_*",
    # Libraries that run or load models.
    "TORCH*", "PYTORCH_*", "ATEN_*", "TRITON_*", "TRANSFORMERS_*", "TOKENIZERS_*", "SAFETENSORS_*", "HF_*",
    "ORT_*", "OV_*", "OPENVINO_*", "MLFLOW_DISABLE_*", "MLFLOW_ENABLE_*", "DO_NOT_TRACK",
    "BAKEOFF_*",
)  # fmt: skip
# A name with one of these words is dropped although a pattern allows it, such as HF_TOKEN.
_SECRET = re.compile(
    r"(^|_)(TOKENS?|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?|AUTH|(API)?KEYS?)(_|$)", re.IGNORECASE
)
_PYTHON_PATH = "PYTHONPATH"
# Folders of installed packages are on the path of every interpreter of the environment.
_INSTALLED = ("site-packages", "dist-packages")
_HOME = Path(__file__).parents[3]  # the folder with bakeoff in it


def choose_variables(ours: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """Choose the variables that a child process gets from ours.

    Args:
        ours: Variables of this process.
        named: Names that the configuration lets pass as well, secret or not.
    """
    chosen = {
        name: value
        for name, value in ours.items()
        if name in named
        or (any(fnmatchcase(name, pattern) for pattern in ALLOWED) and not _SECRET.search(name))
    }
    chosen[CODE_PATH_VARIABLE] = os.pathsep.join(_list_code_path())
    if path := os.pathsep.join(_list_import_path(ours.get(_PYTHON_PATH, ""))):
        chosen[_PYTHON_PATH] = path
    else:
        chosen.pop(_PYTHON_PATH, None)
    return chosen


def _list_import_path(given: str) -> list[str]:
    """List what a child searches before its own packages: your PYTHONPATH, and bakeoff if not installed.

    An empty entry of PYTHONPATH, which a shell makes of an unset variable, stands for the working folder. It
    is dropped; relative entries start at our working folder.
    """
    entries = [str(Path(entry).absolute()) for entry in given.split(os.pathsep) if entry]
    return entries if _HOME.name in _INSTALLED or str(_HOME) in entries else [*entries, str(_HOME)]


def _list_code_path() -> list[str]:
    """List where a child finds code of the user: where we would, and what was added to our own path."""
    added = [entry for entry in sys.path if os.path.isabs(entry)]  # noqa: PTH117 - entries are text
    return list(dict.fromkeys([*map(str, list_code_folders()), *added]))
