"""The smallest headers of programs that say what a real one says; made by hand, and some real ones of this machine."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

PE_X86, PE_X64, PE_ARM64, PE_ARMV7, PE_RISCV64 = 0x14C, 0x8664, 0xAA64, 0x1C4, 0x5064
ELF_X86, ELF_X64, ELF_ARM64, ELF_ARM, ELF_RISCV, ELF_S390 = 3, 62, 183, 40, 243, 22
MACH_X86, MACH_X64, MACH_ARM64, MACH_PPC = 7, 0x01000007, 0x0100000C, 18
IL_ONLY, REQUIRES_32_BIT, PREFERS_32_BIT = 0x1, 0x2, 0x20000


def elf(machine: int, *, bits: int = 64, order: str = "<", osabi: int = 0) -> bytes:
    """Return an ELF header; `order` is that of struct."""
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2, 1, osabi]) + bytes(8)
    return ident + struct.pack(f"{order}HHI", 2, machine, 1) + bytes(64)


def mach_o(cpu: int, *, order: str = "<") -> bytes:
    """Return the header of a Mach-O program for one processor."""
    magic = 0xFEEDFACF if cpu & 0x01000000 else 0xFEEDFACE
    return struct.pack(f"{order}IIIIIII", magic, cpu, 3, 2, 0, 0, 0) + bytes(64)


def fat(*cpus: int, is_64_bit: bool = False) -> bytes:
    """Return a universal program with a part for each processor."""
    head = struct.pack(">II", 0xCAFEBABF if is_64_bit else 0xCAFEBABE, len(cpus))
    entry = ">IIQQII" if is_64_bit else ">IIIII"
    size = 8 + len(cpus) * struct.calcsize(entry)
    parts = [mach_o(cpu) for cpu in cpus]
    for index, cpu in enumerate(cpus):
        fields = [cpu, 3, size + sum(map(len, parts[:index])), len(parts[index]), 14]
        head += struct.pack(entry, *fields, *([0] if is_64_bit else []))
    return head + b"".join(parts)


def pe(
    machine: int,
    *,
    sections: tuple[tuple[bytes, int], ...] = ((b".text", 512),),
    clr_flags: int | None = None,
    clr_far: bool = False,
    overlay: int = 0,
    certificates: int = 0,
    header_at: int = 0x80,
) -> bytes:
    """Return a Windows program with sections of these names and sizes, and `overlay` bytes behind them.

    `clr_flags` makes it a .NET program. `clr_far` puts what .NET reads behind everything else. The last
    `certificates` bytes of the overlay are a signature.
    """
    is_64_bit = machine in {PE_X64, PE_ARM64, PE_RISCV64}
    directories = [(0, 0)] * 16
    size = 0x400 + sum(length for _, length in sections) + overlay
    if certificates:
        directories[4] = (size - certificates, certificates)
    if clr_flags is not None:
        directories[14] = (0x1000 + (sections[0][1] - 72 if clr_far else 8), 72)
    optional = struct.pack("<H", 0x20B if is_64_bit else 0x10B).ljust(108 if is_64_bit else 92, b"\0")
    optional += struct.pack("<I", 16) + b"".join(struct.pack("<II", *one) for one in directories)
    table = b""
    offset = 0x400
    for index, (name, length) in enumerate(sections):
        table += struct.pack("<8sIIII16x", name, length, 0x1000 * (index + 1), length, offset)
        offset += length
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, len(optional), 0x22)
    head = (b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", header_at)).ljust(header_at, b"\0")
    image = bytearray((head + coff + optional + table).ljust(0x400, b"\0") + bytes(size - 0x400))
    if clr_flags is not None:
        at = 0x400 + directories[14][0] - 0x1000
        image[at : at + 20] = struct.pack("<IHHQI", 72, 2, 5, 0, clr_flags)
    return bytes(image)


def windows_programs() -> dict[str, Path]:
    """Return real Windows programs that lie in installed Python packages, by file name."""
    found: dict[str, Path] = {}
    for package, folder in (("pip", "_vendor/distlib"), ("setuptools", "")):
        spec = importlib.util.find_spec(package)
        for parent in (spec.submodule_search_locations or []) if spec else []:
            found |= {path.name: path for path in (Path(parent) / folder).glob("*.exe")}
    return found
