"""What the header of a program says it is for, and that nothing is read into what has none."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.releases.executables import HEAD_BYTES, UNKNOWN, identify
from gateway.releases.model import Architecture, Platform
from tests.releases import binaries as b

MIB = 1 << 20
HERE = {"x86_64": Architecture.X64, "aarch64": Architecture.ARM64}.get(platform.machine())


def _say(content: bytes) -> str:
    return str(identify(content[:HEAD_BYTES], len(content)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b.elf(b.ELF_X64), "linux x64"),
        (b.elf(b.ELF_X64, osabi=3), "linux x64"),
        (b.elf(b.ELF_ARM64), "linux arm64"),
        (b.elf(b.ELF_X86, bits=32), "linux x86"),
        (b.elf(b.ELF_ARM, bits=32), "linux armv7"),
        (b.elf(b.ELF_ARM, bits=32, order=">"), "linux another processor"),
        (b.elf(b.ELF_RISCV), "linux another processor"),
        (b.elf(b.ELF_S390, order=">"), "linux another processor"),
        (b.elf(b.ELF_X64, osabi=9), "another system x64"),
        (b.mach_o(b.MACH_X64), "macos x64"),
        (b.mach_o(b.MACH_ARM64), "macos arm64"),
        (b.mach_o(b.MACH_X86), "macos x86"),
        (b.mach_o(b.MACH_PPC, order=">"), "macos another processor"),
        (b.fat(b.MACH_X64, b.MACH_ARM64), "macos arm64, x64"),
        (b.fat(b.MACH_X64, b.MACH_ARM64, is_64_bit=True), "macos arm64, x64"),
        (b.fat(b.MACH_ARM64), "macos arm64"),
        (b.fat(b.MACH_X86, b.MACH_PPC), "macos x86"),
        (b.pe(b.PE_X64), "windows x64"),
        (b.pe(b.PE_X64, header_at=0x200), "windows x64"),
        (b.pe(b.PE_ARM64), "windows arm64"),
        (b.pe(b.PE_X86), "windows x86"),
        (b.pe(b.PE_ARMV7), "windows armv7"),
        (b.pe(b.PE_RISCV64), "windows another processor"),
    ],
)
def test_a_header_names_platform_and_processor(content: bytes, said: str) -> None:
    """Each format says in its first bytes what a wrong file name or a mixed-up build would hide."""
    assert _say(content) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # A stub of 32 bits starts on each Windows, and holds a program for any: electron-builder's arm64 set-ups do.
        (b.pe(b.PE_X86, sections=((b".text", 512), (b".ndata", 0))), "windows arm64, x64, x86"),
        (b.pe(b.PE_X86, sections=((b".text", 512), (b".wixburn", 512))), "windows arm64, x64, x86"),
        (b.pe(b.PE_X86, overlay=MIB), "windows arm64, x64, x86"),
        (b.pe(b.PE_X86, sections=((b".text", 512), (b".rsrc", MIB))), "windows arm64, x64, x86"),
        (b.pe(b.PE_X64, overlay=MIB), "windows arm64, x64"),
        (b.pe(b.PE_ARM64, overlay=MIB), "windows arm64"),
        # Little data, or a signature, makes no installer.
        (b.pe(b.PE_X86, overlay=4096), "windows x86"),
        (b.pe(b.PE_X86, overlay=MIB, certificates=MIB), "windows x86"),
        (b.pe(b.PE_X86, sections=((b".text", MIB), (b".rsrc", MIB // 2))), "windows x86"),
        # What is compiled where it runs.
        (b.pe(b.PE_X86, clr_flags=b.IL_ONLY), "windows arm64, armv7, x64, x86"),
        (b.pe(b.PE_X86, clr_flags=b.IL_ONLY | b.REQUIRES_32_BIT | b.PREFERS_32_BIT), "windows arm64, armv7, x64, x86"),
        (b.pe(b.PE_X86, clr_flags=b.IL_ONLY | b.REQUIRES_32_BIT), "windows x86"),
        (b.pe(b.PE_X86, clr_flags=0), "windows x86"),
        (b.pe(b.PE_X64, clr_flags=b.IL_ONLY), "windows x64"),
        (b.pe(b.PE_X86, clr_flags=0, clr_far=True, sections=((b".text", MIB),)), "windows arm64, armv7, x64, x86"),
        (b.pe(b.PE_X86, clr_flags=b.IL_ONLY, sections=((b".text", 0),)), "windows arm64, armv7, x64, x86"),
        (b.pe(b.PE_X64, sections=((b".text", 512), (b".hexpthk", 512))), "windows arm64, x64"),
    ],
)
def test_headers_that_do_not_tell_what_a_program_is_for_raise_no_alarm(content: bytes, said: str) -> None:
    """Installers, .NET and hybrid programs are good files under a declaration that their header seems to deny."""
    assert _say(content) == said


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MZ",
        b"MZ".ljust(4096, b"\0"),
        b"MZ".ljust(0x3C, b"\0") + b"\xff\xff\xff\xff",
        b"MZqFpD" + b.pe(b.PE_X64)[6:],
        b"\x7fELF",
        b"\x7fELF\x02\x03" + bytes(60),
        b"\xca\xfe\xba\xbe\0\0\0\x3d" + bytes(60),
        b"\xca\xfe\xba\xbe" + bytes(60),
        b"PK\x03\x04" + bytes(60),
        b"\x1f\x8b\x08" + bytes(60),
        b"\xfd7zXZ\0" + bytes(60),
        b"!<arch>\ndebian-binary" + bytes(60),
        b"\xed\xab\xee\xdb" + bytes(60),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        b"#!/bin/sh\nexec true\n",
        bytes(1000) + b"koly",
    ],
)
def test_everything_else_is_unknown_and_fits_any_declaration(content: bytes) -> None:
    """Archives, packages, scripts, Java classes and cut headers contradict nothing."""
    found = identify(content, len(content))
    assert found is UNKNOWN
    assert str(found) == "unknown"
    assert all(found.is_for_platform(one) for one in Platform)
    assert all(found.is_for(one) for one in Architecture)


def test_a_universal_program_fits_both_processors_and_a_thin_one_is_not_universal() -> None:
    """Half of a universal program is what a build machine makes that forgot to join the two."""
    both = identify(b.fat(b.MACH_X64, b.MACH_ARM64), 1000)
    assert {one for one in Architecture if both.is_for(one)} == {
        Architecture.X64,
        Architecture.ARM64,
        Architecture.UNIVERSAL,
    }
    thin = identify(b.mach_o(b.MACH_ARM64), 1000)
    assert {one for one in Architecture if thin.is_for(one)} == {Architecture.ARM64}
    assert not thin.is_for_platform(Platform.LINUX)


@pytest.mark.skipif(HERE is None, reason="a machine of this processor has no name in the catalogue")
@pytest.mark.parametrize("path", [Path("/bin/ls"), Path(sys.executable)])
def test_the_programs_of_this_machine_are_for_it(path: Path) -> None:
    """What a compiler makes says the same as the headers above."""
    found = identify(path.read_bytes()[:HEAD_BYTES], path.stat().st_size)
    assert found.architectures == {HERE}
    assert found.is_for_platform(Platform.LINUX if sys.platform == "linux" else Platform.MACOS)


def test_real_windows_programs_are_for_what_their_names_say() -> None:
    """Launchers of scripts lie in most Python installations, for three processors."""
    programs = b.windows_programs()
    if not programs:
        pytest.skip("no package with Windows programs is installed")
    for name, path in programs.items():
        machine = "arm64" if "arm" in name else "x64" if "64" in name else "x86"
        assert _say(path.read_bytes()) == f"windows {machine}", name


@given(st.binary(max_size=512), st.integers(0, 1 << 40))
def test_no_bytes_can_make_it_raise(content: bytes, size: int) -> None:
    """The first bytes come from anybody who may publish, or from whoever holds their server."""
    identify(content, size)


@given(
    st.sampled_from(
        [
            b.pe(b.PE_X64),
            b.pe(b.PE_X86, clr_flags=1, overlay=100),
            b.elf(b.ELF_X64),
            b.mach_o(b.MACH_ARM64),
            b.fat(b.MACH_X64, b.MACH_ARM64),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 0x300), st.integers(0, 255)), max_size=12),
    st.integers(0, 0x400),
)
def test_no_damaged_header_can_make_it_raise(content: bytes, damage: list[tuple[int, int]], length: int) -> None:
    """Offsets and counts in a header may be anything, and a header may end anywhere."""
    damaged = bytearray(content)
    for at, byte in damage:
        damaged[at % len(damaged)] = byte
    identify(bytes(damaged[:length]), len(damaged))
