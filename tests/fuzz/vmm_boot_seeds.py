#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of vmm_boot_fuzz: kernels of each form, and the usual ways in which one is
wrong. Usage: vmm_boot_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

MIB = 1 << 20
M32, M8, M1, M3073 = range(4)  # memories, by their MiB
LOAD, DYNAMIC, NOTE = 1, 2, 4
ENTRY = 18


def whole(kernel, ram=M32, initrd=3, command_line=20, zeros=0):
    return struct.pack("<BBHB", ram, initrd, command_line, zeros) + kernel


def bzimage(sectors=1, code=1024, flag=0xAA55, magic=b"HdrS", jump=0x6AEB, version=0x20F,
            load_flags=1, initrd_max=0x7FFFFFFF, alignment=2 * MIB, relocatable=1, flags64=1,
            command_line=2047, preferred=16 * MIB, init_size=4 * MIB, paragraphs=None):
    paragraphs = code // 16 if paragraphs is None else paragraphs
    image = bytearray((1 + (sectors or 4)) * 512 + code)
    struct.pack_into("<BHI", image, 0x1F1, sectors, 0, paragraphs)
    struct.pack_into("<HH4sH", image, 0x1FE, flag, jump, magic, version)
    image[0x211] = load_flags
    struct.pack_into("<IIBBHI", image, 0x22C, initrd_max, alignment, relocatable, 21, flags64,
                     command_line)
    struct.pack_into("<QI", image, 0x258, preferred, init_size)
    return bytes(image)


def note(owner, kind, descriptor):
    def filled(content):
        return content + bytes(-len(content) % 4)
    return (struct.pack("<III", len(owner) + 1, len(descriptor), kind) + filled(owner + b"\0") +
            filled(descriptor))


def load(offset=0, address=2 * MIB, in_file=256, in_memory=4096, kind=LOAD):
    return struct.pack("<IIQQQQQQ", kind, 7, offset, address, address, in_file, in_memory, 4096)


def elf(*segments, notes=b"", entry=2 * MIB, kind=2, machine=62, size=56, count=None, offset=64,
        width=2):
    segments = list(segments or (load(), load(address=4 * MIB)))
    if notes:
        at = 64 + 56 * (len(segments) + 1)
        segments.append(load(at, 0, len(notes), len(notes), NOTE))
    count = len(segments) if count is None else count
    ident = b"\x7fELF" + bytes((width, 1, 1)) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, offset, 0, 0, 64, size,
                                 count, 0, 0, 0)
    image = header + b"".join(segments) + notes
    return image + bytes(max(0, 512 - len(image)))


def bzimage_seeds():
    yield "simple", whole(bzimage())
    yield "low", whole(bzimage(preferred=0), M8)
    yield "fixed", whole(bzimage(relocatable=0, preferred=MIB), M8)
    yield "fixed_too_low", whole(bzimage(relocatable=0, preferred=MIB - 1))
    yield "large_memory", whole(bzimage(), M3073)
    yield "ram_disk_high", whole(bzimage(flags64=3), M3073)
    yield "ram_disk_low", whole(bzimage(initrd_max=24 * MIB - 1))
    yield "ram_disk_nowhere", whole(bzimage(initrd_max=0))
    yield "no_ram_disk", whole(bzimage(), initrd=0)
    yield "full", whole(bzimage(preferred=MIB, alignment=MIB, init_size=7 * MIB), M8, 0)
    yield "too_full", whole(bzimage(preferred=MIB, alignment=MIB, init_size=7 * MIB), M8, 1)
    yield "no_memory", whole(bzimage(), M1)
    yield "long_command_line", whole(bzimage(command_line=0xFFFFFFFF), command_line=65535)
    yield "too_long_command_line", whole(bzimage(), command_line=2048)
    yield "four_sectors", whole(bzimage(sectors=0))
    yield "many_sectors", whole(bzimage(sectors=255)[:0x270], zeros=4)
    yield "short_header", whole(bzimage(jump=0x00EB))
    yield "large_code", whole(bzimage(paragraphs=4 * MIB // 16, init_size=0), zeros=64)
    yield "more_code_than_it_needs", whole(
        bzimage(preferred=MIB, alignment=MIB, paragraphs=13 * MIB // 32, init_size=0), M8, 255,
        zeros=104)
    yield "code_beyond_the_file", whole(bzimage(paragraphs=0xFFFFFFFF))
    yield "little_code", whole(bzimage(paragraphs=32))
    yield "old", whole(bzimage(version=0x20B))
    yield "of_32_bits", whole(bzimage(flags64=0))
    yield "zimage", whole(bzimage(load_flags=0))
    yield "odd_alignment", whole(bzimage(alignment=3))
    yield "at_the_end", whole(bzimage(preferred=(1 << 64) - 1))
    yield "fixed_at_the_end", whole(bzimage(preferred=(1 << 64) - 1, relocatable=0))
    yield "in_the_hole", whole(bzimage(preferred=0xFEE00000), M3073)
    yield "no_kernel", whole(bzimage(magic=b"HdrT"))
    yield "cut", whole(bzimage()[:0x220])


def elf_seeds():
    def pvh(descriptor=struct.pack("<I", 2 * MIB), owner=b"Xen"):
        return note(b"GNU", 3, b"12345") + note(owner, ENTRY, descriptor) + note(b"Xen", 6, b"")

    yield "simple", whole(elf())
    yield "pvh", whole(elf(notes=pvh()))
    yield "pvh_8", whole(elf(notes=pvh(struct.pack("<Q", 4 * MIB))), M3073)
    yield "pvh_no_ram_disk", whole(elf(notes=pvh()), M8, 0)
    yield "pvh_nowhere", whole(elf(notes=pvh(struct.pack("<Q", 1 << 32))))
    yield "pvh_short", whole(elf(notes=pvh(b"12")))
    yield "other_owner", whole(elf(notes=pvh(owner=b"Linux")))
    yield "note_too_long", whole(elf(notes=struct.pack("<III", 4, 0xFFFFFFFF, ENTRY) + b"Xen\0"))
    yield "name_too_long", whole(elf(notes=struct.pack("<III", 0xFFFFFFFF, 4, ENTRY)))
    yield "many_notes", whole(elf(load(), load(0, 0, 65536, 65536, NOTE)), zeros=1)
    yield "too_many_notes", whole(elf(load(), load(0, 0, 65537, 65537, NOTE)), zeros=2)
    yield "large", whole(elf(load(in_file=4 * MIB, in_memory=4 * MIB)), M8, zeros=64)
    yield "full", whole(elf(load(in_memory=6 * MIB)), M8, 0)
    yield "too_full", whole(elf(load(in_memory=6 * MIB)), M8, 1)
    yield "no_memory", whole(elf(), M1)
    yield "many_segments", whole(elf(*(load(address=(2 + i) * MIB) for i in range(24))))
    yield "overlap", whole(elf(load(), load(address=2 * MIB + 4095)))
    yield "low", whole(elf(load(), load(address=0x3000)))
    yield "endless", whole(elf(load(in_memory=(1 << 64) - 1)))
    yield "at_the_end", whole(elf(load(), load(address=(1 << 64) - 4096)))
    yield "beyond_the_file", whole(elf(load(offset=1 << 40)))
    yield "more_in_the_file", whole(elf(load(in_file=512, in_memory=256)))
    yield "nothing", whole(elf(load(kind=DYNAMIC)))
    yield "entry_nowhere", whole(elf(entry=0))
    yield "headers_beyond_the_file", whole(elf(offset=(1 << 64) - 56))
    yield "too_many_headers", whole(elf(count=65))
    yield "odd_headers", whole(elf(size=32))
    yield "of_32_bits", whole(elf(width=1))
    yield "other_machine", whole(elf(machine=183))
    yield "object", whole(elf(kind=1))
    yield "cut", whole(elf()[:60])


def seeds():
    for form, these in (("bzimage", bzimage_seeds()), ("elf", elf_seeds())):
        for name, content in these:
            yield f"{form}_{name}", content


if __name__ == "__main__":
    corpus.write(__file__, seeds())
