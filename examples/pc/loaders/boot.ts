// What all loaders have in common: what they are given, and what they answer.
import type { Gpr } from 'nvmm';
import { BOOT, COMMAND_LINE_LIMIT, CONVENTIONAL_END, EXTENDED, split } from '../layout.js';
import { NoMemoryError, type GuestMemory } from '../memory.js';
import { ImageError, type Image } from './image.js';

/** What is loaded beside the kernel, and into what. */
export interface BootRequest {
  readonly memory: GuestMemory;
  /** Bytes of memory that the guest has. */
  readonly ram: number;
  readonly commandLine: string;
  /** The initial RAM disk; for multiboot, its module. */
  readonly initrd: Image | undefined;
}

/** How the processor is to begin. */
export interface Entry {
  /**
   * 'real': CS and the other segments as given, 16-bit code. 'protected': flat 32-bit segments, no paging. 'long': 64-bit
   * code, the first 4 GiB at their own addresses.
   */
  readonly mode: 'real' | 'protected' | 'long';
  readonly rip: number;
  /** The segment registers of real mode; 0 unless given. */
  readonly segment?: number;
  readonly registers: Partial<Record<keyof typeof Gpr, number>>;
}

export const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** Puts a piece of a kernel where it wants to be: not over what {@link BOOT} describes. @throws ImageError */
export function place(request: BootRequest, image: Image, bytes: Uint8Array, gpa: number, size = bytes.length): void {
  if (gpa < BOOT.end) throw image.error(`it wants to be at 0x${gpa.toString(16)}, where the boot information goes.`);
  store(request, image, bytes, gpa, size);
}

/** Puts a piece of `image` anywhere in memory, with zeros behind it up to `size`. @throws ImageError */
export function store({ memory, ram }: BootRequest, image: Image, bytes: Uint8Array, gpa: number, size: number): void {
  const end = gpa + size;
  if (gpa < EXTENDED && end > CONVENTIONAL_END) {
    throw image.error(`it wants to be at 0x${gpa.toString(16)}, up to where no memory is.`);
  }
  try {
    memory.fill(gpa + bytes.length, size - bytes.length, 0);
    memory.write(gpa, bytes);
  } catch (error) {
    if (!(error instanceof NoMemoryError)) throw error;
    throw image.error(`too little memory: it needs ${mebibytes(end)}, the guest has ${mebibytes(ram)} (see -m).`);
  }
}

/** Writes the command line. @returns where it is. @throws ImageError if it is longer than `limit`. */
export function placeCommandLine({ memory, commandLine }: BootRequest, limit = COMMAND_LINE_LIMIT - 1): number {
  const text = Buffer.from(`${commandLine}\0`, 'utf8');
  const most = Math.min(limit, COMMAND_LINE_LIMIT - 1);
  if (text.length - 1 > most) {
    throw new ImageError(`The command line (-append) has ${text.length - 1} bytes; the kernel takes ${most}.`);
  }
  memory.write(BOOT.commandLine, text);
  return BOOT.commandLine;
}

/** Puts the initial RAM disk at the end of the memory below `limit`, behind `kernelEnd`. */
export function placeInitrd(request: BootRequest, kernelEnd: number, limit = 2 ** 32): { base: number; size: number } {
  const { initrd, ram } = request;
  if (initrd === undefined) return { base: 0, size: 0 };
  const size = initrd.bytes.length;
  const base = Math.floor((Math.min(split(ram).low, limit) - size) / 4096) * 4096;
  if (base < kernelEnd) {
    throw initrd.error(
      `too little memory: with the kernel it needs ${mebibytes(kernelEnd + size)}, the guest has ${mebibytes(ram)} (see -m).`,
    );
  }
  place(request, initrd, initrd.bytes, base);
  return { base, size };
}
