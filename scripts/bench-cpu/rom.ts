// The ROM that all machines of bench:cpu start: see programs.S.
import { programs } from './programs.guest.js';

/** What a program does in one round: so many of a unit, or as many instructions as it has. */
export interface Program {
  readonly name: string;
  /** Whether it counts for the geometric mean, of millions of instructions per second. */
  readonly instructions: boolean;
  readonly amount: number;
  readonly unit: string;
}

const MIB = 2 ** 20;

/** By their numbers. */
export const PROGRAMS: readonly Program[] = [
  { name: 'ALU loop', instructions: true, amount: 0, unit: 'MIPS' },
  { name: 'copy and CRC-32', instructions: true, amount: 0, unit: 'MIPS' },
  { name: 'sieve', instructions: true, amount: 0, unit: 'MIPS' },
  { name: 'recursive fib', instructions: true, amount: 0, unit: 'MIPS' },
  { name: 'rep movs, stos, scas', instructions: false, amount: 3 * MIB, unit: 'MB/s' },
  { name: 'int and iret', instructions: false, amount: 10_000, unit: 'M/s' },
  { name: 'OUT', instructions: false, amount: 10_000, unit: 'M/s' },
];

export type Mode = 32 | 64;

/** Where it lies: in the last 64 KiB below 1 MiB, and below 4 GiB. */
export const ROM_SIZE = 64 * 1024;
export const ROM_ADDRESSES = [0xf_0000, 0xffff_0000];

/** What the guest writes its lines to; and, with the last of them, asks the machine to end. */
export const CONSOLE_PORT = 0xe9;

const WIDE = 0x10;
const ROUNDS = 0x20;
const RESET_VECTOR = 0xfff0;

/** @param rounds of each program, after one that warms it up. */
export function makeRom(mode: Mode, rounds: readonly number[]): Buffer {
  const rom = Buffer.alloc(ROM_SIZE);
  rom.set(programs.bytes);
  rom.writeUInt32LE(mode === 64 ? 1 : 0, WIDE);
  rounds.forEach((count, program) => rom.writeUInt32LE(count, ROUNDS + 4 * program));
  rom.set([0xea, 0x00, 0x00, 0x00, 0xf0], RESET_VECTOR); // jmp f000:0000
  return rom;
}
