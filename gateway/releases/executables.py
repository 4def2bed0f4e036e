"""Which platform and architecture a program is for, read from the first bytes of its file.

PE (Windows), ELF (Linux) and Mach-O (macOS, thin or fat) say so in their headers. Archives, packages, scripts and
everything else are `UNKNOWN`, which contradicts nothing. A number outside the given bytes reads as zero, so that no
input can raise.

Some headers do not tell what the file is for, and would give false alarms if they were taken at their word: a
self-extracting installer is a 32-bit stub around a program for another processor, and a .NET program of intermediate
code calls itself x86 but runs anywhere. These count as being for every processor that can start them.

Sources: Microsoft's "PE Format" and ECMA-335 II.25.3.3, the System V ABI's object file chapter, Apple's
`mach-o/loader.h`, `mach-o/fat.h` and `mach/machine.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.releases.model import Architecture, Platform

# Enough for every header seen so far, with the section table of a PE file and the start of its code.
HEAD_BYTES: Final = 64 << 10

_ARM64: Final = Architecture.ARM64
_X64: Final = Architecture.X64
_X86: Final = Architecture.X86
_UNIVERSAL: Final = frozenset({_ARM64, _X64})
_NEUTRAL: Final = frozenset({_ARM64, _X64, _X86, Architecture.ARMV7})
# Windows starts a program for the key on the processors of the value, by emulation if need be.
_WINDOWS_RUNS: Final = {_X86: frozenset({_X86, _X64, _ARM64}), _X64: _UNIVERSAL}

_PE_X86: Final = 0x014C
_PE_MACHINES: Final = {
    _PE_X86: frozenset({_X86}),
    0x8664: frozenset({_X64}),
    0xAA64: frozenset({_ARM64}),
    0x01C0: frozenset({Architecture.ARMV7}),
    0x01C2: frozenset({Architecture.ARMV7}),
    0x01C4: frozenset({Architecture.ARMV7}),
    # ARM64EC and ARM64X hold code for both.
    0xA641: _UNIVERSAL,
    0xA64E: _UNIVERSAL,
}
_ELF_MACHINES: Final = {3: _X86, 40: Architecture.ARMV7, 62: _X64, 183: _ARM64}
# "System V" stands in nearly every Linux program; BSDs and others write their own number.
_ELF_LINUX: Final = frozenset({0, 3})
_MACH_CPUS: Final = {7: _X86, 12: Architecture.ARMV7, 0x0100_0007: _X64, 0x0100_000C: _ARM64}
_MACH_THIN: Final[dict[bytes, Literal["little", "big"]]] = {
    b"\xce\xfa\xed\xfe": "little",
    b"\xcf\xfa\xed\xfe": "little",
    b"\xfe\xed\xfa\xce": "big",
    b"\xfe\xed\xfa\xcf": "big",
}
# The magic number of a fat file, and the size of each entry of its table.
_MACH_FAT: Final = {b"\xca\xfe\xba\xbe": 20, b"\xca\xfe\xba\xbf": 32}
# A Java class begins like a fat file, with its version (45 and more) where the number of architectures would be.
_MAX_FAT: Final = 20

# A program for any of three systems that begins like a Windows one (Cosmopolitan's "actually portable executable").
_PORTABLE: Final = b"MZqFpD"
_MAX_SECTIONS: Final = 96
_INSTALLER_SECTIONS: Final = frozenset({b".ndata", b".wixburn"})  # NSIS and WiX.
_HYBRID_SECTIONS: Final = frozenset({b".hexpthk", b".a64xrm"})  # ARM64EC behind the header of an x64 program.
_MIN_PAYLOAD: Final = 64 << 10
_CERTIFICATES: Final = 4
_CLR: Final = 14
_IL_ONLY: Final = 0x1
_REQUIRES_32_BIT: Final = 0x2
_PREFERS_32_BIT: Final = 0x20000


@dataclass(frozen=True, slots=True)
class Executable:
    """What a header says. `platform` is None for systems that no build can be declared for.

    `architectures` holds those that the file is for, as far as they have a name here; it is empty for a processor
    without one.
    """

    format: Literal["pe", "elf", "mach-o", "unknown"]
    platform: Platform | None = None
    architectures: frozenset[Architecture] = frozenset()

    @property
    def known(self) -> bool:
        """Whether the file has a header that says what it is for."""
        return self.format != "unknown"

    def is_for_platform(self, declared: Platform) -> bool:
        """Whether the declared platform may be right."""
        return not self.known or self.platform is declared

    def is_for(self, declared: Architecture) -> bool:
        """Whether the declared architecture may be right; a universal program has code for both of macOS'."""
        if not self.known:
            return True
        needed = _UNIVERSAL if declared is Architecture.UNIVERSAL else {declared}
        return needed <= self.architectures

    def __str__(self) -> str:
        if not self.known:
            return "unknown"
        architectures = ", ".join(sorted(self.architectures)) or "another processor"
        return f"{self.platform or 'another system'} {architectures}"


UNKNOWN: Final = Executable("unknown")


def identify(head: bytes, size: int) -> Executable:
    """Return what a file of `size` bytes is that begins with `head` (at most `HEAD_BYTES` of it). Never raises."""
    head = head[:HEAD_BYTES]
    if head.startswith(b"MZ") and not head.startswith(_PORTABLE):
        return _identify_pe(head, size)
    if head.startswith(b"\x7fELF"):
        return _identify_elf(head)
    return _identify_mach_o(head)


def _number(head: bytes, offset: int, length: int, order: Literal["little", "big"] = "little") -> int:
    return int.from_bytes(head[offset : offset + length], order)


def _identify_elf(head: bytes) -> Executable:
    order: Literal["little", "big"] | None = {1: "little", 2: "big"}.get(_number(head, 5, 1))  # type: ignore[assignment]
    if order is None or len(head) < 20:
        return UNKNOWN
    machine = _ELF_MACHINES.get(_number(head, 18, 2, order))
    # All processors that have a name here run little-endian; the same one in big-endian is another target.
    architectures = frozenset({machine}) if machine and order == "little" else frozenset[Architecture]()
    return Executable("elf", Platform.LINUX if head[7] in _ELF_LINUX else None, architectures)


def _identify_mach_o(head: bytes) -> Executable:
    magic = head[:4]
    if order := _MACH_THIN.get(magic):
        cpus = [_number(head, 4, 4, order)]
    elif entry := _MACH_FAT.get(magic):
        count = _number(head, 4, 4, "big")
        if not 1 <= count <= _MAX_FAT:
            return UNKNOWN
        cpus = [_number(head, 8 + index * entry, 4, "big") for index in range(count)]
    else:
        return UNKNOWN
    return Executable("mach-o", Platform.MACOS, frozenset(_MACH_CPUS[cpu] for cpu in cpus if cpu in _MACH_CPUS))


@dataclass(frozen=True, slots=True)
class _Section:
    name: bytes
    address: int
    size: int
    offset: int


def _identify_pe(head: bytes, size: int) -> Executable:
    start = _number(head, 0x3C, 4)
    if head[start : start + 4] != b"PE\0\0":
        return UNKNOWN
    architectures = _PE_MACHINES.get(_number(head, start + 4, 2), frozenset[Architecture]())
    table = start + 24 + _number(head, start + 20, 2)
    sections = [
        _Section(
            head[at : at + 8].rstrip(b"\0"),
            _number(head, at + 12, 4),
            _number(head, at + 16, 4),
            _number(head, at + 20, 4),
        )
        for at in range(table, table + 40 * min(_number(head, start + 6, 2), _MAX_SECTIONS), 40)
    ]
    if any(section.name in _HYBRID_SECTIONS for section in sections):
        architectures |= _UNIVERSAL
    elif _is_neutral(head, start, sections):
        architectures = _NEUTRAL
    elif _is_installer(sections, size - _directory(head, start, _CERTIFICATES)[1]):
        architectures = frozenset().union(*(_WINDOWS_RUNS.get(one, {one}) for one in architectures))
    return Executable("pe", Platform.WINDOWS, architectures)


def _directory(head: bytes, start: int, index: int) -> tuple[int, int]:
    """Return address and size of one of the optional header's directories, zeros if it has none."""
    is_64_bit = _number(head, start + 24, 2) == 0x20B
    count = start + 24 + (108 if is_64_bit else 92)
    if index >= _number(head, count, 4):
        return 0, 0
    at = count + 4 + index * 8
    return _number(head, at, 4), _number(head, at + 4, 4)


def _is_neutral(head: bytes, start: int, sections: list[_Section]) -> bool:
    """Whether this is a .NET program for any processor; one for a certain one has that processor's machine number."""
    address, size = _directory(head, start, _CLR)
    if size == 0 or _number(head, start + 4, 2) != _PE_X86:
        return False
    for section in sections:
        if section.address <= address < section.address + section.size:
            at = section.offset + address - section.address + 16
            flags = _number(head, at, 4)
            # Flags that lie beyond the head leave it open.
            needs_32_bit = flags & _REQUIRES_32_BIT and not flags & _PREFERS_32_BIT
            return at >= len(head) or bool(flags & _IL_ONLY and not needs_32_bit)
    return True


def _is_installer(sections: list[_Section], size: int) -> bool:
    """Whether most of the file is no code but data that was put in or behind it (`size` without signatures)."""
    if any(section.name in _INSTALLER_SECTIONS for section in sections):
        return True
    behind = size - max((section.offset + section.size for section in sections), default=size)
    inside = sum(section.size for section in sections if section.name == b".rsrc")
    return behind + inside > max(size // 2, _MIN_PAYLOAD)
