#!/usr/bin/env python3
"""Checks volumes of Bireme against a model of its own.

Random writes are drawn from a seed and applied to a flat file here; Bireme gets the same writes as a list of extents, and
what it dumps afterwards is compared with the flat file byte by byte. Nothing of Bireme is used but its command.

    volume_check.py --bireme target/release/bireme --device a b c d e --raid 5 --destroy-data --fail 2

makes a pool and a volume, writes rounds of extents, fails member 2 in the middle, and goes on. Exits 0 when every dump
was right. Standard library only.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

BLOCK = 4096


def main():
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="bireme-volume-check-", dir=arguments.scratch) as folder:
        check = Check(arguments, folder)
        try:
            check.run()
        except Refused as refused:
            sys.exit(f"volume_check: {refused}")
    print(
        f"RAID {arguments.raid} over {len(arguments.device)} devices, seed {arguments.seed}: {check.extents} extents of "
        f"{check.written} bytes in {arguments.rounds} rounds, {check.dumps} dumps as the model has it"
    )


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bireme", required=True, help="the command")
    parser.add_argument("--device", nargs="+", required=True, help="devices or files; everything on them is lost")
    parser.add_argument("--destroy-data", action="store_true", required=True, help="permits that")
    parser.add_argument("--raid", default="5", help="0, 1, 10, 5, 6, 50 or 60")
    parser.add_argument("--groups", type=int, help="of levels 50 and 60")
    parser.add_argument("--chunk", default="16KiB")
    parser.add_argument("--page", default="1MiB")
    parser.add_argument("--size", type=int, default=24 << 20, help="bytes of the volume")
    parser.add_argument("--rounds", type=int, default=4, help="of writing, and of a dump after each")
    parser.add_argument("--extents", type=int, default=200, help="of each round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fail", type=int, action="append", default=[], help="fail this member in the middle")
    parser.add_argument("--scratch", help="a folder for the model, the data and the dumps")
    return parser.parse_args()


class Refused(Exception):
    """A command has failed, or a dump is wrong."""


class Check:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.size = arguments.size // BLOCK * BLOCK
        self.model = bytearray(self.size)
        self.paths = {name: os.path.join(folder, name) for name in ("data", "extents", "dump")}
        self.extents = self.written = self.dumps = 0

    def run(self):
        arguments = self.arguments
        shape = ["--raid", arguments.raid, "--chunk", arguments.chunk, "--page", arguments.page]
        shape += ["--groups", str(arguments.groups)] if arguments.groups else []
        self.bireme("array", "create", *shape, "--destroy-data")
        self.bireme("volume", "create", "--name", "check", "--size", str(self.size), "--peers", "3")
        self.compare("new")
        for number in range(arguments.rounds):
            if number == arguments.rounds // 2:
                for member in arguments.fail:
                    self.bireme("array", "fail", "--member", str(member))
                if arguments.fail:
                    self.compare("after members have failed")
            self.write()
            self.compare(f"after round {number}")
        self.expect_listed()

    def write(self):
        """Draws extents, applies them to the model, and has Bireme apply them to the volume."""
        data = bytearray()
        lines = []
        for _ in range(self.arguments.extents):
            blocks = self.draw_blocks()
            start = self.draw_start(blocks)
            piece = self.random.randbytes(blocks * BLOCK)
            self.model[start * BLOCK : (start + blocks) * BLOCK] = piece
            lines.append(f"{start * BLOCK} {blocks * BLOCK} {len(data)}\n")
            data += piece
        for name, content in (("data", bytes(data)), ("extents", "".join(lines).encode())):
            with open(self.paths[name], "wb") as file:
                file.write(content)
        peers, depth = self.random.choice([1, 2, 3]), self.random.choice([1, 4, 8, 32])
        operation = self.random.choice(["4KiB", "64KiB", "256KiB", "1MiB"])
        tuning = ["--peers", str(peers), "--depth", str(depth), "--operation", operation]
        where = ["--input", self.paths["data"], "--extents", self.paths["extents"]]
        self.bireme("volume", "write", "--name", "check", *where, *tuning)
        self.extents += len(lines)
        self.written += len(data)

    def draw_blocks(self):
        """Mostly one block or a few, sometimes more than a stripe."""
        most = self.size // BLOCK
        return min(most, self.random.choice([1, 1, 1, 2, 3, self.random.randint(1, 16), self.random.randint(1, 512)]))

    def draw_start(self, blocks):
        """Half of all writes go to an eighth of the volume, so that they meet."""
        room = self.size // BLOCK - blocks
        hot = min(room, self.size // BLOCK // 8)
        return self.random.randint(0, hot if self.random.random() < 0.5 else room)

    def compare(self, when):
        self.bireme("volume", "dump", "--name", "check", "--output", self.paths["dump"])
        with open(self.paths["dump"], "rb") as file:
            dump = file.read()
        if len(dump) != self.size:
            raise Refused(f"{when}: the dump has {len(dump)} bytes and the volume {self.size}")
        if dump != self.model:
            wrong = [at for at in range(0, self.size, BLOCK) if dump[at : at + BLOCK] != self.model[at : at + BLOCK]]
            raise Refused(f"{when}: {len(wrong)} blocks are wrong, the first at byte {wrong[0]}")
        self.dumps += 1

    def expect_listed(self):
        listed = json.loads(self.bireme("volume", "list", "--json"))
        want = [("check", self.size, True)]
        found = [(volume["name"], volume["bytes"], volume["clean"]) for volume in listed]
        if found != want:
            raise Refused(f"listed are {found}, and not {want}")

    def bireme(self, *words):
        line = [self.arguments.bireme, *words, "--device", *self.arguments.device]
        ended = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if ended.returncode != 0:
            raise Refused(f"{' '.join(line)} has ended with {ended.returncode}: {ended.stderr.strip()}")
        return ended.stdout


if __name__ == "__main__":
    main()
