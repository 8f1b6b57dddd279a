"""Sizes and SHA-256 sums of the data files that are read as they are, and the refusal of files that differ from them.

Records of `tensorflow_datasets` carry checksums of their own, and `tonic` checks what it downloads.
"""

import hashlib
from typing import NamedTuple

from benchmarks.errors import DataMissing


class Published(NamedTuple):
    """What is known of a file: its bytes, and their SHA-256 sum."""

    size: int
    sha256: str


# fmt: off
KNOWN = {
    # Penn Treebank as Mikolov et al. (2010) prepared it
    "ptb.train.txt": Published(5_101_618, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    "ptb.valid.txt": Published(399_782, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    "ptb.test.txt": Published(449_945, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
    # WikiText-2 (Merity et al. 2017)
    "wiki.train.tokens": Published(10_797_148, "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f"),
    "wiki.valid.tokens": Published(1_121_681, "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
    "wiki.test.tokens": Published(1_256_449, "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
    # Some recordings of N-MNIST and of DVS128 Gesture
    "nmnist_1000_100.npz": Published(14_552_120, "4c677fc66f05bbfd1374f0c5beea1dfcc46709c5118fcc958b8a4ac0edfaeef1"),
    "dvs128_gesture_10.npz": Published(3_688_332, "f6f37c42e3815b260bf5bb4840e0eb9ff8f2166280abebe72feb7b38f4855538"),
}
# fmt: on


def verify(paths, config) -> bool | None:
    """Whether the files are the published ones, as a record's `dataset.verified` says it.

    True where all of them are; False where `config.verify_data` asks for no look at them; None where a name is not in
    `KNOWN`, so that nobody can tell.

    Raises:
        DataMissing: a file of a known name cannot be read, or holds something else.
    """
    if not config.verify_data:
        return False
    known = [path for path in paths if path.name in KNOWN]
    for path in known:
        _compare(path, KNOWN[path.name])
    return True if len(known) == len(paths) else None


def _compare(path, wanted):
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataMissing(f"{path.name} cannot be read ({error}).") from None
    if len(content) != wanted.size:
        difference = f"{len(content):,} bytes where {wanted.size:,} are wanted"
    elif (found := hashlib.sha256(content).hexdigest()) != wanted.sha256:
        difference = f"the SHA-256 sum {found} where {wanted.sha256} is wanted"
    else:
        return
    raise DataMissing(
        f"{path.name} is not the published file, it has {difference}: copy it anew, or read data of your own under "
        "this name by --set verify_data=false."
    )
