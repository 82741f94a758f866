"""Files are read whole or refused, and written whole or not at all."""

import errno
import os
import stat

import pytest

from ambigmnist import _files
from ambigmnist._files import as_path, atomic_path, atomic_write, read_bytes, read_start
from ambigmnist.errors import ArgumentError, DataNotFoundError, DTypeError, FileError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_round_trip(tmp_path):
    path = tmp_path / "a.bin"
    atomic_write(path, b"one")
    atomic_write(str(path), bytearray(b"two"))
    assert read_bytes(path) == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_new_files_follow_the_umask_and_old_ones_keep_their_mode(tmp_path):
    path = tmp_path / "a"
    old = os.umask(0o027)
    try:
        atomic_write(path, b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    atomic_write(path, b"y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_the_temporary_name_keeps_the_ending_and_the_folder(tmp_path):
    with atomic_path(tmp_path / "picture.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        assert temporary.read_bytes() == b""
        assert not (tmp_path / "picture.png").exists()
        temporary.write_bytes(b"data")
    assert names(tmp_path) == ["picture.png"]


def test_the_longest_possible_name(tmp_path):
    path = tmp_path / ("x" * 200 + "." + "y" * 54)
    atomic_write(path, b"data")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError(errno.ENOSPC, "full")])
def test_nothing_is_left_when_the_writer_fails(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    expected = FileError if isinstance(error, OSError) else error
    with pytest.raises(expected), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half of the ne")
        raise error
    assert names(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "fchmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_gives_a_file_error(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    if call == "replace":
        monkeypatch.setattr(_files.Path, "replace", fail)
    else:
        monkeypatch.setattr(_files.os, call, fail)
    with pytest.raises(FileError) as caught:
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert caught.value.errno == code
    assert names(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not here")
        real(file)

    monkeypatch.setattr(_files.os, "fsync", fsync)
    atomic_write(tmp_path / "a", b"x")
    assert read_bytes(tmp_path / "a") == b"x"


def test_what_cannot_be_written_to(tmp_path):
    with pytest.raises(FileError, match="create the folder first") as caught:
        atomic_write(tmp_path / "none" / "a", b"")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(FileError, match="got a folder"):
        atomic_write(tmp_path, b"")
    with pytest.raises(FileError, match="device"):
        atomic_write("/dev/null", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="cannot be written"):
        atomic_write(tmp_path / "file" / "a", b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileError):
        atomic_write(tmp_path / "loop", b"")
    assert names(tmp_path) == ["file", "loop"]


def test_a_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(_files.os, "access", lambda *args: False)  # root may write everywhere
    with pytest.raises(FileError, match="Permission denied"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_the_start_of_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"start and rest")
    assert read_start(path, 5) == b"start"
    assert read_start(path, 99) == b"start and rest"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="device or a pipe"):
        read_start(tmp_path / "pipe", 5)  # and does not wait for a writer
    with pytest.raises(FileError, match="got a folder"):
        read_start(tmp_path, 5)
    with pytest.raises(DataNotFoundError, match="No such file"):
        read_start(tmp_path / "none", 5)


def test_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataNotFoundError, match="No such file") as caught:
        read_bytes(tmp_path / "none")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(FileError, match="expected a file, got a folder"):
        read_bytes(tmp_path)
    with pytest.raises(FileError, match="device or a pipe"):
        read_bytes("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="device or a pipe"):
        read_bytes(tmp_path / "pipe")  # and does not wait for a writer
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileError, match="symbolic links"):
        read_bytes(tmp_path / "loop")

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(_files.os, "open", refuse)
    with pytest.raises(FileError, match="Permission denied") as caught:
        read_bytes(tmp_path / "a")
    assert isinstance(caught.value, OSError)


def test_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/x") == tmp_path / "x"
    assert as_path(os.fsencode(tmp_path)) == tmp_path
    odd = tmp_path / os.fsdecode(b"\xff\xfe")
    atomic_write(odd, b"x")
    assert read_bytes(odd) == b"x"
    for wrong in (3, None, 1.5, ["a"]):
        with pytest.raises(DTypeError, match="expected a str"):
            as_path(wrong)
    for wrong in ("", "a\0b"):
        with pytest.raises(ArgumentError, match="expected the name"):
            as_path(wrong)
    with pytest.raises(ArgumentError, match="no-such-user"):
        as_path("~no-such-user-here/x")
