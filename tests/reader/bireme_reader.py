#!/usr/bin/env python3
"""Reads the newest set of a Bireme pool, knowing nothing but dataplane/docs/on-disk-format.md.

    bireme export --device A B C > EXPORT.json
    bireme_reader.py --metadata EXPORT.json --output FILE C A B

It shares no code with Bireme, so it fails when the document and the program disagree. Superblocks, layout, mirrors,
roots, leaves and data are read from the devices, in any order; only the rows of the two tables come from the export.

    devices -> newest superblock -> layout -> frame of a page -> leaves (root) -> blocks (CRC, tag) -> FILE

A *note* is a sentence about damage that the format's copies make up for. A *mismatch* is a sentence, the exit code 1,
and no FILE.
"""

import argparse
import functools
import json
import os
import struct
import sys
from collections import namedtuple

BLOCK = 4096
ZONE = 64 << 10
MAGIC = b"BIREME\x1a\x01"
LENGTH_MAGIC = b"BIRMLEN\x01"
REDB_MAGIC = b"redb\x1a\x0a\xa9\x0d\x0a"
CREATING, ACTIVE, COPYING = 1, 2, 3
MASK = 2**64 - 1
LEVELS, PARITIES = (0, 1, 10, 5, 6, 50, 60), {5: 1, 50: 1, 6: 2, 60: 2}
DOUBLED = bytes((value << 1 ^ (0x11D if value & 0x80 else 0)) & 0xFF for value in range(256))


class Mismatch(Exception):
    """What is found contradicts the document, and nothing further can be read."""


class Log:
    """Sentences for the operator."""

    mismatches = 0

    def note(self, sentence):
        print(f"note: {sentence}", file=sys.stderr)

    def mismatch(self, sentence):
        self.mismatches += 1
        print(f"mismatch: {sentence}", file=sys.stderr)


def crc_table(polynomial):
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


def crc(data, table, ones):
    value = ones
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ ones


crc32c = functools.partial(crc, table=crc_table(0x82F63B78), ones=2**32 - 1)
crc64_nvme = functools.partial(crc, table=crc_table(0x9A6C9329AC4BC9B5), ones=MASK)


def mix(v):
    v = (v ^ v >> 30) * 0xBF58476D1CE4E5B9 & MASK
    v = (v ^ v >> 27) * 0x94D049BB133111EB & MASK
    return v ^ v >> 31


def tag(block, generation):
    m = mix(block ^ mix(generation))
    return (m ^ m >> 32) & 0xFFFFFFFF or 1


def check_examples_of_the_document():
    assert crc32c(b"123456789") == 0xE3069283 and crc64_nvme(b"123456789") == 0xAE8B14860A799888
    tags = [tag(0, 0), tag(1, 0), tag(0, 1), tag(256, 2**20 + 1)]
    assert tags == [1, 1184437240, 1971467380, 1313869946], tags


Superblock = namedtuple(
    "Superblock",
    "version crc pool generation row_count members clean level chunk_bytes page_bytes groups metadata metadata_bytes"
    " leaves data frames device watermark rows raw",
)
Row = namedtuple("Row", "uuid size state failed_at")


def parse_superblock(raw):
    """The superblock in these 4096 bytes; None if they are not a sound one."""
    if any(raw[sector : sector + 8] != MAGIC for sector in range(0, BLOCK, 512)):
        return None
    version, crc_field, pool, *rest, features = struct.unpack_from("<II16sQHHIIIIIQQQQQ16sQQ", raw, 8)
    if version != 2 or features or crc32c(raw[:12] + bytes(4) + raw[16:]) != crc_field:
        return None
    row_count, rows, unused = rest[1], [], [raw[136:512]]
    for i in range(72):
        at = 512 + i // 12 * 512 + 8 + i % 12 * 40
        rows.append(Row(*struct.unpack_from("<16sQI4xQ", raw, at)))
        unused.append(raw[at + 28 : at + 32] if i < row_count else raw[at : at + 40])
    unused += [raw[sector + 488 : sector + 512] for sector in range(512, 3584, 512)]
    unused.append(raw[3592:BLOCK])
    if any(any(part) for part in unused):
        raise Mismatch(f"a sound superblock of generation {rest[0]} is not zero where version 2 has no field")
    return Superblock(version, crc_field, pool, *rest, rows[:row_count], raw)


class Device:
    """A device and the newest of its superblocks."""

    def __init__(self, path, log):
        self.path = path
        self.file = open(path, "rb")
        self.bytes = self.file.seek(0, os.SEEK_END) // BLOCK * BLOCK
        start, end = self.newest("start", 0, log), self.newest("end", self.bytes - ZONE, log)
        if start.generation != end.generation:
            log.note(f"{path} holds generation {start.generation} at the start and {end.generation} at the end")
        elif start.raw != end.raw:
            raise Mismatch(f"{path} holds two different superblocks of generation {start.generation}")
        if (start.pool, start.device) != (end.pool, end.device):
            raise Mismatch(f"{path} belongs to different pools or members at the start and at the end")
        self.superblock = max(start, end, key=lambda superblock: superblock.generation)

    def newest(self, end, zone, log):
        """The sound slot with the highest generation at one end."""
        sound = []
        for name, offset in (("A", zone), ("B", zone + BLOCK)):
            raw = self.read(offset, BLOCK)
            superblock = parse_superblock(raw)
            if superblock:
                sound.append(superblock)
            elif any(raw):
                log.note(f"slot {name} at the {end} of {self.path} is damaged")
        if not sound:
            raise Mismatch(f"{self.path} has no sound superblock at its {end}")
        return max(sound, key=lambda superblock: superblock.generation)

    def read(self, offset, size):
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) != size:
            raise Mismatch(f"{self.path} ends before {size} bytes at {offset}")
        return data


def assemble(paths, log):
    """The devices in the order of their members, and the newest superblock of all."""
    devices = [Device(path, log) for path in paths]
    newest = max((device.superblock for device in devices), key=lambda superblock: superblock.generation)
    by_member = {}
    for device in devices:
        own = device.superblock
        if own.pool != newest.pool:
            raise Mismatch(f"{device.path} belongs to pool {own.pool.hex()}, others to {newest.pool.hex()}")
        rows = [i for i, row in enumerate(newest.rows) if row.uuid == own.device]
        if not rows:
            raise Mismatch(f"{device.path} is in no row of the newest table")
        if by_member.setdefault(rows[0], device) is not device:
            raise Mismatch(f"{device.path} and {by_member[rows[0]].path} are both member {rows[0]}")
        if own.generation < newest.generation:
            log.note(f"{device.path} is at generation {own.generation}, the pool at {newest.generation}")
        elif own._replace(device=b"", crc=0, raw=b"") != newest._replace(device=b"", crc=0, raw=b""):
            raise Mismatch(f"{device.path} describes the pool differently in the same generation")
    if any(i not in by_member for i in range(newest.members)):
        raise Mismatch(f"the pool has {newest.members} members, given were {sorted(by_member)}")
    members = [by_member[i] for i in range(newest.members)]
    own_rows = [[row for row in device.superblock.rows if row.uuid == device.superblock.device] for device in members]
    if all(row.state == CREATING for rows in own_rows for row in rows):
        raise Mismatch("all members say creating: the pool was never completed and holds nothing")
    for i, (device, row) in enumerate(zip(members, newest.rows)):
        if device.bytes != row.size:
            raise Mismatch(f"{device.path} has {device.bytes} bytes, the device table says {row.size}")
        if row.state not in (ACTIVE, COPYING):
            raise Mismatch(f"member {i} is in state {row.state}: this reader needs all members")
    return members, newest


class Layout:
    def __init__(self, superblock, smallest):
        s = superblock
        self.members, self.chunk, self.page, self.frames = s.members, s.chunk_bytes, s.page_bytes, s.frames
        if s.level not in LEVELS or (s.groups >= 2) != (s.level in (50, 60)) or s.members % (s.groups or 1):
            raise Mismatch(f"level {s.level} over {s.members} members in {s.groups} groups does not exist")
        self.groups, self.parities = s.groups or 1, PARITIES.get(s.level, 0)
        self.copies = {1: s.members, 10: 2}.get(s.level, 1)
        self.stripe_rows = 2 if s.level == 10 and s.members % 2 else 1
        self.stripe_chunks = self.stripe_rows * (s.members - self.parities * self.groups) // self.copies
        self.stripe = self.stripe_chunks * s.chunk_bytes
        self.stripes = -(-s.page_bytes // self.stripe)
        self.frame_bytes = self.stripes * self.stripe_rows * s.chunk_bytes
        self.leaf_bytes = round_up(self.frame_bytes // BLOCK * 8, BLOCK)
        self.leaves = round_up(ZONE + s.metadata_bytes, 1 << 20)
        self.data = round_up(self.leaves + s.frames * self.leaf_bytes, 1 << 20)
        if (s.metadata, s.leaves, s.data) != (ZONE, self.leaves, self.data):
            raise Mismatch(f"the superblock has leaves at {s.leaves} and data at {s.data}, the sizes give others")
        if self.data + s.frames * self.frame_bytes > smallest - ZONE:
            raise Mismatch(f"{s.frames} frames reach beyond the smallest member")


    def copies_of(self, chunk):
        """Member and row of each copy of a chunk of the array; levels without parity."""
        numbers = range(chunk * self.copies, (chunk + 1) * self.copies)
        return [(x % self.members, x // self.members) for x in numbers]

    def unit(self, number):
        """Members of a unit, those with parity first, and its row; levels with parity."""
        row, group = divmod(number, self.groups)
        size = self.members // self.groups
        p = size - 1 - row % size
        return [group * size + (p + i) % size for i in range(size)], row


def times(factor, shard):
    """Each byte times a power of two, over GF(2^8) with the polynomial 0x11d."""
    for _ in range(factor):
        shard = shard.translate(DOUBLED)
    return shard


def xor(shards):
    value = 0
    for shard in shards:
        value ^= int.from_bytes(shard, "little")
    return value.to_bytes(len(shards[0]), "little")


def round_up(value, unit):
    return -(-value // unit) * unit


def check_mirrors(members, superblock, log):
    """Every active mirror has a length and an image; after an orderly close all images are the same."""
    images = []
    for device, row in zip(members, superblock.rows):
        lengths = [(0, 0)]
        for block in (0, 1):
            raw = device.read(ZONE + block * BLOCK, BLOCK)
            magic, pool, n, size, crc_field = struct.unpack_from("<8s16sQQI", raw)
            if (magic, pool, crc_field, n % 2) == (LENGTH_MAGIC, superblock.pool, crc32c(raw[:40]), block):
                lengths.append((n, size))
        size = max(lengths)[1]
        image = device.read(ZONE + 2 * BLOCK, size) if size <= superblock.metadata_bytes - 2 * BLOCK else b""
        if row.state == ACTIVE and image.startswith(REDB_MAGIC):
            images.append(image)
        else:
            log.note(f"the mirror on {device.path} does not count: state {row.state}, {size} bytes")
    if not images:
        log.mismatch("no member has a mirror of the metadata that counts")
    elif superblock.clean and any(image != images[0] for image in images):
        log.note("the mirrors differ, though the pool was closed in order")


def newest_set(export, superblock, layout):
    """The newest set of the export, if it fits the pool."""
    if export["pool"] != superblock.pool.hex():
        raise Mismatch(f"the export is of pool {export['pool']}, the devices of {superblock.pool.hex()}")
    if not export["sets"]:
        raise Mismatch("the pool holds no set")
    newest = max(export["sets"], key=lambda each: each["number"])
    frames = [frame for frame, _root in newest["pages"]]
    if len(frames) != -(-newest["bytes"] // layout.page):
        raise Mismatch(f"{newest['bytes']} bytes do not make {len(frames)} pages")
    if len(set(frames)) < len(frames) or max(frames, default=0) >= layout.frames:
        raise Mismatch("a frame is named twice, or does not exist")
    opened, number = divmod(newest["generation"], 2**20)
    if opened > superblock.generation or number != newest["number"] % 2**20:
        raise Mismatch(f"generation {newest['generation']} does not fit set {newest['number']} and the pool's")
    return newest


def read_page(page, frame, root, size, generation, layout, members, log):
    """The bytes of one page; every leaf and block of it is checked on the way."""
    leaves_at, frame_at = layout.leaves + frame * layout.leaf_bytes, layout.data + frame * layout.frame_bytes
    leaves = [device.read(leaves_at, layout.leaf_bytes) for device in members]
    found = crc64_nvme(b"".join(leaves))
    if found != root:
        log.mismatch(f"page {page}: the root of its leaves is {found:016x}, the export says {root:016x}")
    stripes = -(-size // layout.stripe)
    written = stripes * layout.stripe_rows * layout.chunk
    parts = []
    for device, own in zip(members, leaves):
        parts.append(device.read(frame_at, written))
        for i in range(written // BLOCK):
            at = frame_at + i * BLOCK
            want = crc32c(parts[-1][i * BLOCK : (i + 1) * BLOCK]), tag(at // BLOCK, generation)
            for name, have, computed in zip(("CRC-32C", "tag"), struct.unpack_from("<II", own, i * 8), want):
                if have != computed:
                    log.mismatch(f"page {page}: {name} of the block at {at} of {device.path} is not the leaf's")
        if any(own[written // BLOCK * 8 :]):
            log.mismatch(f"page {page}: {device.path} has leaves for blocks that were not written")
    first = frame * layout.stripes
    place = functools.partial(chunk_at, parts, frame * layout.stripes * layout.stripe_rows, layout.chunk)
    units = range(first * layout.stripe_chunks, (first + stripes) * layout.stripe_chunks)
    if layout.parities:
        data = layout.members // layout.groups - layout.parities
        units = range(units.start // data, units.stop // data)
    chunks = []
    for unit in units:
        if layout.parities:
            unit_members, row = layout.unit(unit)
            shards = [place(member, row) for member in unit_members]
            parity, shards = shards[: layout.parities], shards[layout.parities :]
            sums = [xor(shards), xor([times(j, shard) for j, shard in enumerate(shards)])]
            for name, have, computed in zip("PQ", parity, sums):
                if have != computed:
                    log.mismatch(f"page {page}: {name} of unit {unit} is not that of its data")
            chunks += shards
        else:
            copies = [place(member, row) for member, row in layout.copies_of(unit)]
            if any(copy != copies[0] for copy in copies):
                log.mismatch(f"page {page}: the copies of chunk {unit} differ")
            chunks.append(copies[0])
    whole = b"".join(chunks)
    if any(whole[size:]):
        log.mismatch(f"page {page}: the last stripe is not zero behind the data")
    return whole[:size]


def chunk_at(parts, first_row, chunk, member, row):
    """The chunk of a member in a row of the array, from what was read of a frame."""
    start = (row - first_row) * chunk
    return parts[member][start : start + chunk]


def read_set(arguments, log):
    members, superblock = assemble(arguments.devices, log)
    layout = Layout(superblock, min(device.bytes for device in members))
    check_mirrors(members, superblock, log)
    with open(arguments.metadata, encoding="utf-8") as file:
        newest = newest_set(json.load(file), superblock, layout)
    data = bytearray()
    for page, (frame, root) in enumerate(newest["pages"]):
        size = min(layout.page, newest["bytes"] - len(data))
        data += read_page(page, frame, int(root, 16), size, newest["generation"], layout, members, log)
    return data


def main():
    parser = argparse.ArgumentParser(description="Reads the newest set of a Bireme pool.")
    parser.add_argument("--metadata", required=True, help="what `bireme export` printed")
    parser.add_argument("--output", required=True, help="the file to write the set to")
    parser.add_argument("devices", nargs="+", help="the devices of the pool, in any order")
    arguments, log = parser.parse_args(), Log()
    check_examples_of_the_document()
    try:
        data = read_set(arguments, log)
    except Mismatch as sentence:
        log.mismatch(sentence)
    except (OSError, LookupError, TypeError, ValueError) as error:
        log.mismatch(f"the devices or the export cannot be read: {error!r}")
    if log.mismatches:
        sys.exit(f"{log.mismatches} mismatches: the set was not written")
    with open(arguments.output, "wb") as output:
        output.write(data)


main()
