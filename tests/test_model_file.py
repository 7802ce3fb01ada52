"""The model file: whole or not at all, and nothing but what was saved."""

import json
import mmap
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dotbias import model_file
from dotbias.data.ratings import Ratings
from dotbias.errors import ModelFileError
from dotbias.fitting.fit import fit
from dotbias.models import Baseline
from dotbias.recommender.recommender import Recommender

ARRAYS = {
    "b": np.array([1.5, -2.0], np.float32),
    "p": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.zeros((3, 0), np.float32),
    "starts": np.array([0, 2, 2**40], np.int64),
    "text": np.frombuffer("Amélie".encode(), np.uint8),
}
METADATA = {"model": {"name": "DotBias"}, "facts": {"rmse": 0.1 + 0.2, "title": "Amélie"}}


@pytest.fixture(params=["copied", "mapped"])
def saved(request, tmp_path, monkeypatch):
    if request.param == "mapped":
        monkeypatch.setattr(model_file, "MAPPED", 1)
    path = tmp_path / "m.dotbias"
    model_file.write(path, ARRAYS, METADATA)
    return path


def same_as_written(arrays, metadata):
    return (
        metadata == METADATA
        and arrays.keys() == ARRAYS.keys()
        and all(
            (arrays[n].dtype, arrays[n].shape, arrays[n].tobytes())
            == (ARRAYS[n].dtype, ARRAYS[n].shape, ARRAYS[n].tobytes())
            for n in ARRAYS
        )
    )


def test_round_trip(saved):
    assert same_as_written(*model_file.read(saved))


@pytest.fixture
def mapped(saved, monkeypatch):
    monkeypatch.setattr(model_file, "MAPPED", 8)
    return model_file.read(saved)[0]


@pytest.mark.skipif(os.name != "posix", reason="a mapped file cannot be replaced there")
def test_large_arrays_are_those_of_the_file_to_read_and_their_own_to_write(saved, mapped):
    content = saved.read_bytes()
    for name, array in mapped.items():
        root = array
        while isinstance(root, np.ndarray) and root.base is not None:
            root = root.base
        root = root.obj if isinstance(root, memoryview) else root
        assert isinstance(root, mmap.mmap) == (array.nbytes >= 8)
        assert type(array) is np.ndarray
        assert array.flags.aligned, name
        assert array.flags.writeable, name  # compiled code would be compiled anew
        array[...] = 0
    assert saved.read_bytes() == content
    assert same_as_written(*model_file.read(saved))


def test_large_arrays_outlive_their_file(saved, mapped):
    model_file.write(saved, {"p": np.zeros(1000)}, {})
    saved.unlink()
    assert same_as_written(mapped, METADATA)


def test_the_checksum_can_be_left_out(saved):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    refused(saved, "checksum")
    arrays, metadata = model_file.read(saved, verify=False)
    assert metadata == METADATA
    assert not same_as_written(arrays, metadata)


def test_arrays_of_any_layout(tmp_path):
    """A transposed or strided view has to be written in its own order."""
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    views = {"t": table.T, "strided": table[::2, ::-1]}
    model_file.write(tmp_path / "m", views, {})
    arrays, _ = model_file.read(tmp_path / "m")
    for name, view in views.items():
        assert np.array_equal(arrays[name], view)
        assert arrays[name].shape == view.shape


def test_others_may_read_the_file_as_far_as_the_user_lets_them(saved, tmp_path):
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (saved, tmp_path / "plain")]
    assert modes[0] == modes[1]


# -- files that are refused ------------------------------------------------------------------------


def skip_root():
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("permissions do not bind root, or are not of the Unix kind here")


def refused(path, reason):
    for read in (model_file.read, Recommender.load):
        with pytest.raises(ModelFileError, match=reason) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_every_altered_byte_is_noticed(saved):
    """Unless it changes nothing: white space between the parts of the header."""
    good = saved.read_bytes()
    harmless = 0
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        saved.write_bytes(bad)
        try:
            loaded = model_file.read(saved)
        except ModelFileError:
            continue
        harmless += 1
        assert chr(good[at]).isspace()
        assert same_as_written(*loaded)
    assert harmless < 8
    assert len(good) > 500


def test_a_file_cut_off_anywhere_is_refused(saved):
    good = saved.read_bytes()
    for length in range(len(good)):
        saved.write_bytes(good[:length])
        with pytest.raises(ModelFileError):
            model_file.read(saved)
    refused(saved, "no model file, or is truncated")


def test_a_file_with_something_behind_it_is_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved, "no model file, or is truncated")


def test_an_altered_array_is_named_as_such(saved):
    bad = bytearray(saved.read_bytes())
    bad[-1] ^= 1
    saved.write_bytes(bad)
    refused(saved, "altered since it was saved")


@pytest.mark.parametrize("version", [2, 10, 0])
def test_a_format_of_another_version_is_refused(saved, monkeypatch, version):
    monkeypatch.setattr(model_file, "FORMAT_VERSION", version)
    model_file.write(saved, ARRAYS, METADATA)
    monkeypatch.undo()
    refused(saved, f"has format {version}, .* up to 1: upgrade dotbias")


def test_a_format_without_a_version_is_refused(tmp_path):
    path = tmp_path / "m"
    save_file(ARRAYS, path, {"format": model_file.FORMAT, "metadata": json.dumps(METADATA)})
    refused(path, "has format unknown")


@pytest.mark.parametrize("header", [None, {"format": "pt"}])
def test_tensors_of_another_program_are_refused(tmp_path, header):
    path = tmp_path / "weights.safetensors"
    save_file(ARRAYS, path, header)
    refused(path, "was not written by dotbias")


@pytest.mark.parametrize(
    "content",
    [b"", b"user,item,rating\n1,2,3\n", b"PK\x03\x04" + bytes(60), bytes(64), b"\xff" * 64],
    ids=["empty", "text", "zip", "zeros", "ones"],
)
def test_files_of_other_kinds_are_refused(tmp_path, content):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    refused(path, "no model file, or is truncated")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.dotbias", "there is no model file")
    refused(tmp_path, "there is no model file")


def test_a_file_that_may_not_be_read_is_refused(saved):
    skip_root()
    saved.chmod(0)
    refused(saved, "cannot read .*: Permission denied")
    saved.parent.chmod(0)
    try:
        refused(saved, "cannot read .*: Permission denied")
    finally:
        saved.parent.chmod(0o700)


def test_a_model_that_this_version_lacks_is_refused(tmp_path):
    ratings = Ratings.from_columns([1, 2], [1, 2], [1, 2])
    fit(ratings, Baseline()).save(tmp_path / "m")
    arrays, metadata = model_file.read(tmp_path / "m")
    metadata["model"]["name"] = "Oracle"
    model_file.write(tmp_path / "m", arrays, metadata)
    with pytest.raises(ModelFileError, match="holds a Oracle, which this version of dotbias lacks"):
        Recommender.load(tmp_path / "m")


# -- writing, whole or not at all ------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_takes_the_place_of_the_old(saved):
    model_file.write(saved, {"b": np.ones(1, np.float32)}, {"new": True})
    arrays, metadata = model_file.read(saved)
    assert arrays.keys() == {"b"}
    assert metadata == {"new": True}
    assert names(saved.parent) == [saved.name]


def test_whoever_reads_the_old_file_goes_on_reading_it(saved):
    """A file that is overwritten where it lies is, for a while, neither the old nor the new one."""
    if os.name == "nt":
        pytest.skip("Windows replaces no file that is open")
    before = saved.read_bytes()
    with saved.open("rb") as reader:
        model_file.write(saved, {"b": np.ones(1, np.float32)}, {})
        assert reader.read() == before


def test_a_failed_write_leaves_the_old_file_and_nothing_else(saved):
    """The write really fails: the process may for a moment write no file above 4 KB."""
    resource = pytest.importorskip("resource")
    before = saved.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ModelFileError, match=f"cannot write {saved}"):
            model_file.write(saved, {"p": np.ones(10_000, np.float32)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.read_bytes() == before
    assert names(saved.parent) == [saved.name]


def test_what_cannot_be_written_as_metadata_leaves_nothing(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError, match="float32 is not JSON serializable"):
        model_file.write(saved, ARRAYS, {"rmse": np.float32(1)})
    assert saved.read_bytes() == before
    assert names(saved.parent) == [saved.name]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    for path in (tmp_path / "none" / "m.dotbias", tmp_path / "file" / "m.dotbias"):
        (tmp_path / "file").write_text("a file is no folder")
        with pytest.raises(ModelFileError, match=f"cannot write {path}"):
            model_file.write(path, ARRAYS, METADATA)
    assert names(tmp_path) == ["file"]


def test_a_folder_that_may_not_be_written_is_an_error(tmp_path):
    skip_root()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ModelFileError, match="cannot write"):
            model_file.write(tmp_path / "m.dotbias", ARRAYS, METADATA)
    finally:
        tmp_path.chmod(0o700)


def test_only_a_regular_file_is_replaced(tmp_path):
    """Saving to /dev/null as root must not put a model file in its place."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        with pytest.raises(ModelFileError, match="no regular file"):
            model_file.write(path, ARRAYS, METADATA)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["folder", "pipe"]


def test_files_of_ours_are_replaced_and_others_when_told_so(tmp_path):
    path = tmp_path / "m"
    for ours in ("sgd.dotbias", "net.checkpoint"):
        path.write_bytes((Path(__file__).parent / "golden" / "0.5.0" / ours).read_bytes())
        model_file.write(path, ARRAYS, METADATA)
    model_file.write(path, ARRAYS, METADATA, kind="dotbias checkpoint")
    model_file.write(path, ARRAYS, METADATA)
    whole = path.read_bytes()
    save_file({"weights": np.ones(2)}, path, {"format": "pt"})  # what another program wrote
    for other in (path.read_bytes(), whole[:100], b"user,item,rating\n", b"\0" * 16):
        path.write_bytes(other)
        with pytest.raises(ModelFileError, match=r"a file is there, .* force=True"):
            model_file.write(path, ARRAYS, METADATA)
        assert path.read_bytes() == other
        model_file.write(path, ARRAYS, METADATA, force=True)
        assert path.read_bytes() == whole
