// The programs of bench:cpu come to the results that the same algorithms have here.
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { mock } from '../../scripts/bench-cpu/machines.js';
import { makeRom, PROGRAMS } from '../../scripts/bench-cpu/rom.js';

const MIB = 2 ** 20;

const source = new Uint32Array(MIB / 4);
source.reduce((previous, _, i) => (source[i] = Math.imul(previous, 1664525) + 1013904223), 1);

function alu(): number {
  let [a, b] = [1, 12345];
  for (let i = 0; i < MIB; i++) {
    a = (a + b) | 0;
    b ^= a;
    a = (a << 5) | (a >>> 27);
    const d = (a + 2 * b + 7) | 0;
    if (d & 16) b = (b - d) | 0;
    a = Math.imul(a, 33);
  }
  return a ^ b;
}

function primes(): number {
  const composite = new Uint8Array(MIB);
  let count = 0;
  for (let i = 2; i < MIB; i++) {
    if (composite[i]) continue;
    count++;
    for (let multiple = 2 * i; multiple < MIB; multiple += i) composite[multiple] = 1;
  }
  return count;
}

const fibonacci = (n: number): number => (n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2));

describe('the programs of bench:cpu', () => {
  const sum = source.reduce((total, word) => (total + word) | 0, 0);
  const results = [
    alu(),
    crc32(new Uint8Array(source.buffer)) ^ sum,
    primes(),
    fibonacci(24),
    source.at(-1)! + 0x01020304, // the copy's last word, and the one that filled
    10_000,
    0,
  ];
  const lines = results.map((result, i) => `${i}:${(result >>> 0).toString(16).padStart(8, '0')}`);
  for (const mode of mock.modes) {
    it(`have these results in ${mode}-bit mode`, () => {
      const folder = mkdtempSync(join(tmpdir(), 'nvmm-programs-'));
      try {
        const rom = join(folder, 'rom.bin');
        const rounds = PROGRAMS.map(() => 1);
        writeFileSync(rom, makeRom(mode, rounds));
        const [command = '', ...args] = mock.command(rom, folder);
        const output = execFileSync(command, args, { encoding: 'utf8' }).replace(/ \d+$/gm, '');
        expect(output.trim().split('\n')).to.deep.equal([...lines.flatMap((line) => [line, line]), 'end']);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
});
