#!/usr/bin/env python3
"""Checks volumes of Bireme against a model of its own.

Random writes are drawn from a seed and applied to a flat file here; Bireme gets the same writes as a list of extents, and
what it dumps afterwards is compared with the flat file byte by byte. Nothing of Bireme is used but its command.

    volume_check.py --bireme target/release/bireme --device a b c d e --raid 5 --destroy-data --fail 2 --kills 3

makes a pool and a volume, writes rounds of extents, fails member 2 in the middle, and goes on. In so many further rounds
the command is killed while it writes: then every block must hold what it held before, or what one of the extents of that
round put there. Exits 0 when every dump was right. Standard library only.
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
        f"{check.written} bytes in {arguments.rounds} rounds, killed {check.killed} times, {check.dumps} dumps as the model "
        "has it"
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
    parser.add_argument("--kills", type=int, default=0, help="further rounds in which the command is killed")
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
        self.extents = self.written = self.dumps = self.killed = 0

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
        for number in range(arguments.kills):
            self.write_and_kill(0.01 * 1.7**number)
        self.write()
        self.compare("at the end")
        self.expect_listed()

    def write(self):
        """Has Bireme write a round of extents, and the model too."""
        line, pieces = self.draw()
        self.bireme(*line)
        for start, piece in pieces:
            self.model[start : start + len(piece)] = piece

    def write_and_kill(self, seconds):
        """The same, but the command is killed after this time, unless it was faster; the model becomes what is there."""
        line, pieces = self.draw()
        child = subprocess.Popen(self.line(*line), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
            self.killed += 1
        if code not in (0, -9):
            raise Refused(f"volume write has ended with {code}")
        allowed = {at: [bytes(self.model[at : at + BLOCK])] for at in range(0, self.size, BLOCK)}
        for start, piece in pieces:
            for at in range(0, len(piece), BLOCK):
                versions = allowed[start + at]
                if code == 0:
                    versions.clear()
                versions.append(piece[at : at + BLOCK])
        dump = self.dump()
        wrong = [at for at in allowed if dump[at : at + BLOCK] not in allowed[at]]
        if wrong:
            raise Refused(f"killed: {len(wrong)} blocks are neither old nor new, the first at byte {wrong[0]}")
        self.model = bytearray(dump)

    def draw(self):
        """The words of a command that writes random extents, and what they write: offsets with their bytes, in order."""
        data = bytearray()
        lines = []
        pieces = []
        for _ in range(self.arguments.extents):
            blocks = self.draw_blocks()
            start = self.draw_start(blocks) * BLOCK
            piece = self.random.randbytes(blocks * BLOCK)
            pieces.append((start, piece))
            lines.append(f"{start} {blocks * BLOCK} {len(data)}\n")
            data += piece
        for name, content in (("data", bytes(data)), ("extents", "".join(lines).encode())):
            with open(self.paths[name], "wb") as file:
                file.write(content)
        peers, depth = self.random.choice([1, 2, 3]), self.random.choice([1, 4, 8, 32])
        operation = self.random.choice(["4KiB", "64KiB", "256KiB", "1MiB"])
        tuning = ["--peers", str(peers), "--depth", str(depth), "--operation", operation]
        where = ["--input", self.paths["data"], "--extents", self.paths["extents"]]
        self.extents += len(lines)
        self.written += len(data)
        return ["volume", "write", "--name", "check", *where, *tuning], pieces

    def draw_blocks(self):
        """Mostly one block or a few, sometimes more than a stripe."""
        most = self.size // BLOCK
        return min(most, self.random.choice([1, 1, 1, 2, 3, self.random.randint(1, 16), self.random.randint(1, 512)]))

    def draw_start(self, blocks):
        """Half of all writes go to an eighth of the volume, so that they meet."""
        room = self.size // BLOCK - blocks
        hot = min(room, self.size // BLOCK // 8)
        return self.random.randint(0, hot if self.random.random() < 0.5 else room)

    def dump(self):
        self.bireme("volume", "dump", "--name", "check", "--output", self.paths["dump"])
        with open(self.paths["dump"], "rb") as file:
            dump = file.read()
        if len(dump) != self.size:
            raise Refused(f"the dump has {len(dump)} bytes and the volume {self.size}")
        self.dumps += 1
        return dump

    def compare(self, when):
        dump = self.dump()
        if dump != self.model:
            wrong = [at for at in range(0, self.size, BLOCK) if dump[at : at + BLOCK] != self.model[at : at + BLOCK]]
            raise Refused(f"{when}: {len(wrong)} blocks are wrong, the first at byte {wrong[0]}")

    def expect_listed(self):
        listed = json.loads(self.bireme("volume", "list", "--json"))
        want = [("check", self.size, True)]
        found = [(volume["name"], volume["bytes"], volume["clean"]) for volume in listed]
        if found != want:
            raise Refused(f"listed are {found}, and not {want}")

    def line(self, *words):
        return [self.arguments.bireme, *words, "--device", *self.arguments.device]

    def bireme(self, *words):
        line = self.line(*words)
        ended = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if ended.returncode != 0:
            raise Refused(f"{' '.join(line)} has ended with {ended.returncode}: {ended.stderr.strip()}")
        return ended.stdout


if __name__ == "__main__":
    main()
