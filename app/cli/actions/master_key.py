"""`ksefd master-key rotate`: changes the master key of an installation, step by step, each of which can be repeated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.cli.actions.accounts import in_store
from app.cli.exit_codes import UsageProblem
from app.cli.output import print_json, print_warning, stdout_console
from app.errors import Conflict
from app.settings import Settings, load_settings
from app.store.installation import key_check_of, key_id, master_key_path
from app.store.keys.key_file import replace_key_file
from app.store.keys.store import Converted
from app.store.secrets import SecretBox, key_in, read_master_key
from app.store.store import Store

_MAX_FILE_BYTES: Final = 10_000
_LOCK: Final = "master-key-rotate"


@dataclass(frozen=True, slots=True)
class _Rotation:
    old: str
    new: str
    converted: Converted
    old_file: Path | None
    """The kept old file; None when the key file in use has the new key already, or cannot be written."""
    not_written: str | None


def rotate_master_key(new_key_file: Path, *, as_json: bool) -> None:
    """Change the master key, or finish a change that was interrupted, and print what became of it.

    Raises UsageProblem for a file that is no key, WrongMasterKey when the key file in use is not the installation's, and
    Conflict while another change is unfinished or runs.
    """
    settings, new_key = load_settings(), _read_new_key(new_key_file)

    async def work(store: Store) -> _Rotation:
        async with store.database.exclusively(_LOCK) as free:
            if not free:
                raise Conflict("another `ksefd master-key rotate` runs; wait for its end")
            return await _rotate(store, settings, new_key)

    done = in_store(settings, work)
    _print(settings, done, as_json=as_json)


async def _rotate(store: Store, settings: Settings, new_key: bytes) -> _Rotation:
    new, converted = SecretBox(new_key), Converted()
    path = master_key_path(settings)
    old_id, new_id = (key_id(key_check_of(box)) for box in (store.master, new))
    if old_id != new_id:
        if key_check_of(SecretBox(read_master_key(path))) == key_check_of(store.master):
            # An earlier change was interrupted after its file was in place.
            await store.keys.end_hand_over(store.master)
        converted = await store.keys.convert_direct()
        await store.keys.hand_over(store.master, new_key)
    old_file, problem = None, None
    if read_master_key(path) != new_key:
        try:
            old_file = replace_key_file(path, new_key)
        except OSError as error:
            problem = error.strerror or str(error)
    await store.keys.end_hand_over(new)
    return _Rotation(old_id, new_id, converted, old_file, problem)


def _read_new_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES)
        open_to_others = bool(path.stat().st_mode & 0o077)
    except OSError as error:
        raise UsageProblem(f"--new-key-file: cannot read {path}: {error.strerror}") from error
    key = key_in(raw)
    if key is None:
        raise UsageProblem(
            f"--new-key-file: {path} has {len(raw)} bytes and must hold a key of 32 bytes in hex (64 characters) or base64 (44); "
            "nothing was changed"
        )
    if open_to_others:
        print_warning(f"{path} can be read by other users; remove it when the change is done")
    return key


def _print(settings: Settings, done: _Rotation, *, as_json: bool) -> None:
    path = master_key_path(settings)
    if as_json:
        print_json(
            {
                "key": done.new,
                "changed": done.old != done.new,
                "converted_secrets": done.converted.secrets,
                "unreadable_secrets": done.converted.unreadable,
                "key_file": str(path),
                "key_file_written": done.not_written is None,
                "old_key_file": str(done.old_file) if done.old_file is not None else None,
            }
        )
    if done.converted.unreadable:
        print_warning(
            f"{done.converted.unreadable:,} secrets could not be read with the old key and were left as they are"
        )
    if as_json:
        return
    console = stdout_console()
    if done.not_written is not None:
        console.print(
            f"The master key is {done.new} now, but {path} cannot be written ({done.not_written}): put the new file there before "
            "the next start.",
            soft_wrap=True,
        )
    elif done.old_file is not None:
        console.print(
            f"The master key is {done.new} now, in {path}. The old one is in {done.old_file}.", soft_wrap=True
        )
    else:
        console.print(f"The master key is {done.new} already, in {path}.", soft_wrap=True)
