"""The words that release files are named with, and what a row of them says about platform and processor.

A name is cut at everything that is neither a letter nor a digit, so no word is ever found inside another one: `darwin`
is not `win`, and `64-bit` is not in `arm64-bit`. Of the spellings that fit, the one of most words counts: `x86_64`
before `x86`. The project's name and the version are cut out first, because both may contain such words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.releases.model import Architecture, Platform

if TYPE_CHECKING:
    from collections.abc import Iterable


class Libc(StrEnum):
    """The C library that a build is linked with."""

    GNU = "gnu"
    MUSL = "musl"
    MSVC = "msvc"


class Meaning(NamedTuple):
    """What one spelling says. `family` and `bits` say half of a processor; `foreign` is what we have no build for.

    `variant` is what makes the build a special one of its kind, such as a higher level of x86-64.
    """

    platform: Platform | None = None
    architecture: Architecture | None = None
    libc: Libc | None = None
    family: str = ""
    bits: int = 0
    foreign: str = ""
    variant: str = ""


@dataclass(slots=True)
class Reading:
    """What a whole name says. `rest` holds the words without a meaning: a flavour, an edition, another product."""

    platforms: set[Platform] = field(default_factory=set)
    architectures: set[Architecture] = field(default_factory=set)
    libcs: set[Libc] = field(default_factory=set)
    families: set[str] = field(default_factory=set)
    bits: set[int] = field(default_factory=set)
    foreign: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)

    def note(self, meaning: Meaning) -> None:
        """Add what one spelling says."""
        if meaning.platform:
            self.platforms.add(meaning.platform)
        if meaning.architecture:
            self.architectures.add(meaning.architecture)
        if meaning.libc:
            self.libcs.add(meaning.libc)
        if meaning.family:
            self.families.add(meaning.family)
        if meaning.bits:
            self.bits.add(meaning.bits)
        if meaning.foreign:
            self.foreign.append(meaning.foreign)
        if meaning.variant:
            self.rest.append(meaning.variant)


_WINDOWS, _MACOS, _LINUX = Platform.WINDOWS, Platform.MACOS, Platform.LINUX
_NEUTRAL = Meaning()
# Of win32 alone nobody can tell whether it means 32 bits or, as Node.js says it, any Windows.
WIN32: Final = "win32"
# A hyphen stands between the words of one spelling.
_SPELLED: tuple[tuple[Meaning, str], ...] = (
    (Meaning(_WINDOWS), "windows win winnt msys msys2 w64-mingw32 mingw-w64 pc-windows"),
    (Meaning(_WINDOWS, family=WIN32), "win32 mingw32"),
    (Meaning(_WINDOWS, bits=64), "win64 mingw64"),
    (Meaning(_WINDOWS, libc=Libc.GNU), "mingw"),
    (Meaning(_WINDOWS, libc=Libc.MSVC), "msvc"),
    (Meaning(_MACOS), "macos mac macosx osx darwin macintosh mac-os mac-osx mac-os-x os-x apple-darwin"),
    (
        Meaning(_LINUX),
        "linux ubuntu debian raspbian fedora centos rhel rocky almalinux opensuse suse manjaro archlinux",
    ),
    (Meaning(_LINUX), "gentoo nixos"),
    (Meaning(_LINUX, libc=Libc.GNU), "manylinux manylinux1 manylinux2010 manylinux2014"),
    (Meaning(_LINUX, libc=Libc.MUSL), "musllinux alpine"),
    (Meaning(architecture=Architecture.X64), "x86-64 x86-64bit x86-64-bit x8664 amd64 x64 intel64 em64t amd64v1"),
    (Meaning(architecture=Architecture.ARM64), "arm64 aarch64 arm-64 aarch-64 arm-64bit arm-64-bit arm64v8 armv8"),
    (Meaning(_MACOS, Architecture.ARM64), "apple-silicon applesilicon"),
    (Meaning(architecture=Architecture.X86), "i386 i486 i586 i686 ia32 x86-32 x86-32bit x86-32-bit"),
    (Meaning(architecture=Architecture.ARMV7), "armv7 armv7l armv7a armv7h armv7hl armv7hf armhf armhfp arm32 arm32v7"),
    (Meaning(architecture=Architecture.ARMV7), "arm-v7 arm-32 arm-32bit arm-32-bit"),
    (Meaning(architecture=Architecture.UNIVERSAL), "universal universal2 universal-binary"),
    (Meaning(family="arm"), "arm"),
    (Meaning(family="x86"), "x86"),
    (Meaning(family="apple"), "apple silicon m1 m2 m3 m4"),
    (Meaning(family="intel"), "intel"),
    (Meaning(bits=64), "64bit 64bits 64-bit 64-bits"),
    (Meaning(bits=32), "32bit 32bits 32-bit 32-bits x32"),
    (Meaning(libc=Libc.GNU), "gnu glibc gnueabihf gnullvm"),
    (Meaning(libc=Libc.MUSL), "musl musleabihf"),
    # Soft floating point runs on fewer machines.
    (Meaning(libc=Libc.GNU, variant="gnueabi"), "gnueabi"),
    (Meaning(libc=Libc.MUSL, variant="musleabi"), "musleabi"),
    (_NEUTRAL, "setup installer install nsis no-installer portable standalone bin binary executable release stable"),
    (_NEUTRAL, "latest unknown pc bit en-us"),
)
_MEANINGS: dict[tuple[str, ...], Meaning] = {
    tuple(spelling.split("-")): meaning for meaning, text in _SPELLED for spelling in text.split()
}
_MEANINGS |= {(f"amd64v{level}",): Meaning(None, Architecture.X64, variant=f"v{level}") for level in (2, 3, 4)}
_FOREIGN = (
    "android ios ipados tvos visionos freebsd openbsd netbsd dragonfly dragonflybsd solaris sunos illumos aix plan9"
    " haiku wasm wasm32 wasm64 wasi wasip1 emscripten fuchsia tizen webos ohos armel arm64ec arm64e arm-v5 arm-v6"
    " armeabi ia64 noarch"
)
_MEANINGS |= {tuple(spelling.split("-")): Meaning(foreign=spelling) for spelling in _FOREIGN.split()}
_LONGEST = max(map(len, _MEANINGS))
_FOREIGN_BEGINNINGS = ("riscv", "loong", "ppc", "powerpc", "s390", "mips", "sparc", "armv4", "armv5", "armv6")
# These mean something only behind a platform: linux_386, win-64, darwin_all.
_BEHIND_A_PLATFORM: dict[str, Meaning] = {
    "64": Meaning(bits=64),
    "32": Meaning(bits=32),
    "386": Meaning(architecture=Architecture.X86),
    "all": Meaning(family="all"),
}
_PLATFORM_WORDS = sorted(
    (spelling[0] for spelling, meaning in _MEANINGS.items() if len(spelling) == 1 and meaning.platform),
    key=len,
    reverse=True,
)
_GLUED = re.compile(rf"({'|'.join(_PLATFORM_WORDS)})(.+)")
_WORD = re.compile(r"[^\W_]+")
_NUMBERED = re.compile(r"[0-9]+([a-z].*)")
# Where something was cut out, so that the words on both sides of it do not become one spelling.
_CUT = ""


def words_of(text: str) -> list[str]:
    """Return the words of a name in lower case."""
    return _WORD.findall(text.lower())


def knows(word: str) -> bool:
    """Whether this word, by itself, says something about a platform or a processor, or is a number."""
    return word.isdigit() or _meaning_of(word) is not None


def read_name(stem: str, projects: Iterable[str], version: str) -> Reading:
    """Return what a file's name without its ending says, when these are the project's names and this is the version."""
    words = _without_version(words_of(stem), version)
    for name in sorted(
        {"".join(words_of(project)) for project in projects} - {""}, key=lambda name: (-len(name), name)
    ):
        words = _without_project(words, name)
    return _read(words)


def _read(words: list[str]) -> Reading:
    reading = Reading()
    position, behind_a_platform = 0, False
    while position < len(words):
        meaning, used = _longest(words, position)
        if meaning is None and (behind_a_platform or (words[position:] == ["all"])):
            meaning = _BEHIND_A_PLATFORM.get(words[position])
        if meaning is not None:
            reading.note(meaning)
        elif words[position] != _CUT:
            reading.rest.append(words[position])
        behind_a_platform = meaning is not None and meaning.platform is not None
        position += used
    return reading


def _longest(words: list[str], position: int) -> tuple[Meaning | None, int]:
    """Return the meaning of the longest spelling that begins here, and of how many words it is."""
    for used in range(_LONGEST, 1, -1):
        meaning = _MEANINGS.get(tuple(words[position : position + used]))
        if meaning is not None and position + used <= len(words):
            return meaning, used
    return _meaning_of(words[position]), 1


def _meaning_of(word: str) -> Meaning | None:
    """Return what one word says: itself, a platform with something glued to it, or a number with a processor."""
    meaning = _MEANINGS.get((word,))
    if meaning is not None:
        return meaning
    if word.startswith(_FOREIGN_BEGINNINGS):
        return Meaning(foreign=word)
    glued = _GLUED.fullmatch(word)
    if glued:
        return _glued_meaning(*glued.groups())
    numbered = _NUMBERED.fullmatch(word)
    behind = _MEANINGS.get((numbered[1],)) if numbered else None
    return behind if behind is not None and behind.architecture else None


def _glued_meaning(platform_word: str, behind: str) -> Meaning | None:
    """Read linuxamd64, mac64, ubuntu2204 and the like."""
    platform = _MEANINGS[(platform_word,)]
    if behind in ("32", "64"):
        return platform._replace(bits=int(behind))
    if behind.isdigit():
        return platform._replace(variant=behind)
    other = _MEANINGS.get((behind,))
    if other is None or not (other.architecture or other.family in ("arm", "x86")):
        return None
    return platform._replace(architecture=other.architecture, family=other.family, bits=0)


def _without_project(words: list[str], name: str) -> list[str]:
    """Cut out the first run of words that spells the project's name, or its beginning of the first word.

    A name that is nothing but words of this vocabulary (a project called `linux`) is cut out only where it leads.
    """
    only_leading = knows(name) or all(knows(word) for word in words_of(name))
    for start in range(1 if only_leading else len(words)):
        end = _end_of_run(words, start, name)
        if end:
            return [*words[:start], _CUT, *words[end:]]
    if words and words[0].startswith(name) and not knows(words[0]) and knows(words[0].removeprefix(name)):
        return [_CUT, words[0].removeprefix(name), *words[1:]]
    return words


def _end_of_run(words: list[str], start: int, name: str) -> int:
    """Return where the run of words that begins at `start` and spells `name` ends, or 0 when there is none."""
    spelled = ""
    for end in range(start, len(words)):
        spelled += words[end]
        if words[end] == _CUT or not name.startswith(spelled):
            break
        if spelled == name:
            return end + 1
    return 0


def _without_version(words: list[str], version: str) -> list[str]:
    """Cut out the version, with or without a leading v, its pre-release and its build metadata.

    Its numbers have to be words of their own: the digits of 3.8.6 are not looked for in `linux_386`.
    """
    core = re.split(r"[-+]", version, maxsplit=1)[0]
    behind = version[len(core) :]
    numbers = words_of(core)
    for start in range(len(words) - len(numbers) + 1 if numbers else 0):
        run = words[start : start + len(numbers)]
        if [run[0].removeprefix("v"), *run[1:]] == [numbers[0].removeprefix("v"), *numbers[1:]]:
            end = start + len(numbers)
            for tail in (behind, behind.partition("+")[0]):
                end = _end_of_run(words, end, "".join(words_of(tail))) or end
            return [*words[:start], _CUT, *words[end:]]
    return words
