// Files for the loaders of examples/pc and of `nvmm run`: as their formats describe them, and any others.
import fc from 'fast-check';
import { gzipSync } from 'node:zlib';
import { MiB } from '../../examples/pc/layout.js';
import { loadBios } from '../../examples/pc/loaders/bios.js';
import type { BootRequest } from '../../examples/pc/loaders/boot.js';
import { Image, ImageError } from '../../examples/pc/loaders/image.js';
import { loadKernel } from '../../examples/pc/loaders/kernel.js';
import { loadRealMode } from '../../examples/pc/loaders/real-mode.js';
import { GuestMemory } from '../../examples/pc/memory.js';
import { isMultiboot, loadMultiboot } from '../../lib/cli/image.js';
import { CommandError } from '../../lib/cli/output.js';

export const CODE = Uint8Array.from({ length: 1000 }, (_, i) => i * 3);

export function bzImage(change: (file: Buffer) => void = () => undefined): Uint8Array {
  const setupSectors = 2;
  const file = Buffer.alloc((setupSectors + 1) * 512 + CODE.length);
  file.writeUInt8(setupSectors, 0x1f1);
  file.writeUInt16LE(0xaa55, 0x1fe);
  file.writeUInt8(0x68, 0x201); // the header ends at 0x26a
  file.write('HdrS', 0x202, 'latin1');
  file.writeUInt16LE(0x020f, 0x206);
  file.writeUInt8(0x01, 0x211);
  file.writeUInt32LE(0x100000, 0x214);
  file.writeUInt32LE(0x7fffffff, 0x22c);
  file.writeUInt32LE(0x200000, 0x230);
  file.writeUInt8(1, 0x234);
  file.writeUInt16LE(0x01, 0x236);
  file.writeUInt32LE(100, 0x238);
  file.writeBigUInt64LE(0x200000n, 0x258);
  file.writeUInt32LE(0x4000, 0x260);
  file.set(CODE, (setupSectors + 1) * 512);
  change(file);
  return file;
}

interface ElfOptions {
  readonly bits?: 32 | 64;
  readonly address?: number;
  readonly memorySize?: number;
  readonly pvh?: number;
  readonly multiboot?: boolean;
}

/** An ELF file with one segment of CODE, and perhaps a note. */
export function elf({
  bits = 64,
  address = 0x100000,
  memorySize = 2000,
  pvh,
  multiboot = false,
}: ElfOptions = {}): Uint8Array {
  const wide = bits === 64;
  const headerSize = wide ? 56 : 32;
  const table = wide ? 64 : 52;
  const file = Buffer.alloc(0x200 + CODE.length);
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(wide ? 62 : 3, 18);
  const word = (at: number, value: number): void => {
    if (wide) file.writeBigUInt64LE(BigInt(value), at);
    else file.writeUInt32LE(value, at);
  };
  word(24, address + 0x10);
  word(wide ? 32 : 28, table);
  file.writeUInt16LE(headerSize, wide ? 54 : 42);
  file.writeUInt16LE(pvh === undefined ? 1 : 2, wide ? 56 : 44);
  const segment = (index: number, type: number, offset: number, paddr: number, filesz: number, memsz: number): void => {
    const at = table + index * headerSize;
    file.writeUInt32LE(type, at);
    word(at + (wide ? 8 : 4), offset);
    word(at + (wide ? 24 : 12), paddr);
    word(at + (wide ? 32 : 16), filesz);
    word(at + (wide ? 40 : 20), memsz);
  };
  segment(0, 1, 0x200, address, CODE.length, memorySize);
  file.set(CODE, 0x200);
  if (pvh !== undefined) {
    file.writeUInt32LE(4, 0x180);
    file.writeUInt32LE(wide ? 8 : 4, 0x184);
    file.writeUInt32LE(18, 0x188);
    file.write('Xen\0', 0x18c, 'latin1');
    file.writeUInt32LE(pvh, 0x190);
    segment(1, 4, 0x180, 0, wide ? 24 : 20, 0);
  }
  if (multiboot) multibootHeader(file, 0x240, 0);
  return file;
}

export function multibootHeader(file: Buffer, at: number, flags: number, ...addresses: number[]): void {
  [0x1badb002, flags, -(0x1badb002 + flags) >>> 0, ...addresses].forEach((value, i) => {
    file.writeUInt32LE(value, at + 4 * i);
  });
}

/** LZ4 made of literals only, apart from one run: enough to be unpacked. */
export function lz4(content: Uint8Array, run = 0): Uint8Array {
  const length = content.length;
  const extra =
    length < 15 ? [] : [...Array.from({ length: Math.floor((length - 15) / 255) }, () => 255), (length - 15) % 255];
  const last = [0x50, 1, 2, 3, 4, 5];
  const body =
    run === 0
      ? [Math.min(length, 15) << 4, ...extra, ...content]
      : [(Math.min(length, 15) << 4) | (run - 4), ...extra, ...content, 1, 0, ...last];
  const block = Buffer.from(body);
  const frame = Buffer.alloc(8);
  frame.writeUInt32LE(0x184c2102);
  frame.writeUInt32LE(block.length, 4);
  return Buffer.concat([frame, block]);
}

/** A bzImage with a packed kernel behind its code. */
export function withPayload(payload: Uint8Array): Uint8Array {
  const file = bzImage((header) => {
    header.writeUInt32LE(CODE.length, 0x248);
    header.writeUInt32LE(payload.length, 0x24c);
  });
  return Buffer.concat([file, payload]);
}

/** gzip ends with the size of the content, behind others the kernel's makefile puts it. */
export function sized(payload: Uint8Array, size: number): Uint8Array {
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32LE(size);
  return Buffer.concat([payload, trailer]);
}

// ---- Files that are none of these ----

const RAM = 8 * MiB;
const originals = [
  bzImage(),
  elf({ pvh: 1 }),
  elf({ bits: 32, pvh: 1 }),
  elf({ bits: 32, multiboot: true }),
  withPayload(sized(lz4(CODE, 10), CODE.length + 15)),
  withPayload(gzipSync(elf())),
  withPayload(gzipSync(Buffer.alloc(MiB))),
];

// Lengths, addresses and counts that a loader may trip over.
const number = fc.oneof(
  fc.constantFrom(0, 1, 0x1000, 0x10_0000, RAM - 1, RAM, 2 ** 30, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1),
  fc.nat(0x2000),
  fc.nat(2 ** 32 - 1),
);
/** From the beginning, where headers are, or from the end, where gzip has its size. */
const place = fc.oneof(fc.nat(0x270), fc.nat(0xfff), fc.integer({ min: -8, max: -1 }));
const patch = fc.tuple(place, number, fc.constantFrom(1, 2, 4));

function patched(original: Uint8Array, patches: readonly [number, number, number][], length: number): Uint8Array {
  const file = Buffer.alloc(Math.min(length, original.length));
  file.set(original.subarray(0, file.length));
  for (const [place, value, size] of patches) {
    const at = place < 0 ? file.length + place : place;
    if (at >= 0 && at + size <= file.length) file.writeUIntLE(value % 256 ** size, at, size);
  }
  return file;
}

/** Writes what a format is told by into bytes that mean nothing. */
const marks: readonly ((file: Buffer) => void)[] = [
  (file) => {
    file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1]);
  },
  (file) => {
    file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  },
  (file) => {
    multibootHeader(file, 0, 0x1_0000);
  },
  (file) => {
    file.writeUInt16LE(0xaa55, 0x1fe);
    file.write('HdrS\x0f\x02', 0x202, 'latin1');
  },
];
const anyBytes = fc.uint8Array({ maxLength: 0x1000, size: 'max' });

/** Any bytes, also with the marks of a format; and files of each with numbers replaced, cut anywhere. */
export const anyFile: fc.Arbitrary<Uint8Array> = fc.oneof(
  anyBytes,
  fc.tuple(fc.constantFrom(...marks), anyBytes).map(([mark, bytes]) => {
    const file = Buffer.from(bytes);
    if (file.length > 0x210) mark(file);
    return file;
  }),
  fc
    .tuple(
      fc.constantFrom(...originals),
      fc.array(patch, { maxLength: 8 }),
      fc.oneof({ weight: 3, arbitrary: fc.constant(Infinity) }, fc.nat(0x1000)),
    )
    .map(([original, patches, length]) => patched(original, patches, length)),
);

class CountingMemory extends GuestMemory {
  written = 0;
  override write(gpa: number, source: Uint8Array): void {
    super.write(gpa, source);
    this.written += source.length;
  }
  override fill(gpa: number, length: number, value: number): void {
    super.fill(gpa, length, value);
    this.written += length;
  }
}

const windows = [{ gpa: 0, bytes: new Uint8Array(RAM) }];
/** Bytes that gzip may put into one, at the most, twice; and what the loaders need for themselves. */
const EXPANSION = 2 * 1032;
const OWN = MiB;

/** Loads a file in each way that there is. @returns what was not as it should be. */
export function misconduct(bytes: Uint8Array): string | undefined {
  const image = new Image('file', bytes);
  const initrd = new Image('initrd', CODE);
  const ways: Record<string, (boot: BootRequest) => unknown> = {
    kernel: (boot) => loadKernel(boot, image),
    unpacked: (boot) => loadKernel(boot, image, { unpack: true }),
    flat: (boot) => loadKernel(boot, image, { flatAddress: 0x7c00 }),
    'real mode': (boot) => loadRealMode(boot, image),
    initrd: (boot) => loadKernel({ ...boot, initrd: image }, new Image('kernel', originals[0]!)),
    BIOS: ({ memory }) => loadBios(memory, image),
    'nvmm run': () => isMultiboot(bytes) && loadMultiboot(windows[0]!.bytes, bytes, 'command line'),
  };
  for (const [way, load] of Object.entries(ways)) {
    const memory = new CountingMemory(windows);
    const before = process.memoryUsage().arrayBuffers;
    try {
      load({ memory, ram: RAM, commandLine: 'command line', initrd });
    } catch (error) {
      if (!(error instanceof ImageError || error instanceof CommandError))
        return `${way}: ${String((error as Error).stack)}`;
    }
    const allocated = process.memoryUsage().arrayBuffers - before;
    if (allocated > OWN + EXPANSION * bytes.length) return `${way}: allocates ${allocated} bytes for ${bytes.length}`;
    if (memory.written > 2 * RAM) return `${way}: writes ${memory.written} bytes into ${RAM}`;
  }
  return undefined;
}
