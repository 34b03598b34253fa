// Multiboot 1 (the Multiboot Specification, version 0.6.96): ELF kernels, and those whose header has the addresses.
import { BOOT, CONVENTIONAL_END, EXTENDED, KiB, memoryMap, split } from '../layout.js';
import { place, placeCommandLine, type BootRequest, type Entry } from './boot.js';
import { isElf, loadElf, parseElf } from './elf.js';
import type { Image } from './image.js';

const HEADER_MAGIC = 0x1badb002;
const LOADER_MAGIC = 0x2badb002;
/** The header lies in the first bytes of the file. */
const SEARCHED = 8192;

const HEADER_ADDRESSES = 0x1_0000;
/** The low flags must be understood: page-aligned modules, memory information. A video mode (4) is not to be had. */
const HEADER_UNDERSTOOD = 0x0003;

const INFO_MEMORY = 0x001;
const INFO_COMMAND_LINE = 0x004;
const INFO_MODULES = 0x008;
const INFO_MAP = 0x040;
const INFO_LOADER_NAME = 0x200;

/** Where the header is; undefined if there is none. */
export function multibootHeader(image: Image): number | undefined {
  const end = Math.min(image.bytes.length, SEARCHED) - 12;
  for (let at = 0; at <= end; at += 4) {
    if (image.u32(at) !== HEADER_MAGIC) continue;
    if ((HEADER_MAGIC + image.u32(at + 4) + image.u32(at + 8)) >>> 0 === 0) return at;
  }
  return undefined;
}

/** @throws ImageError */
export function loadMultiboot(request: BootRequest, image: Image): Entry {
  const header = multibootHeader(image);
  if (header === undefined) throw image.error('it has no multiboot header.');
  const flags = image.u32(header + 4);
  if ((flags & 0xffff & ~HEADER_UNDERSTOOD) !== 0) {
    throw image.error(`it needs a boot loader that does more (multiboot flags 0x${flags.toString(16)}).`);
  }
  const { entry, end } =
    (flags & HEADER_ADDRESSES) !== 0 ? loadByHeader(request, image, header) : loadByElf(request, image);
  writeInfo(request, end);
  return { mode: 'protected', rip: entry, registers: { RAX: LOADER_MAGIC, RBX: BOOT.multibootInfo } };
}

interface Loaded {
  readonly entry: number;
  readonly end: number;
}

function loadByElf(request: BootRequest, image: Image): Loaded {
  if (!isElf(image)) throw image.error('it is no ELF file, and its multiboot header has no addresses.');
  const elf = parseElf(image);
  return { entry: elf.entry, end: loadElf(request, image, elf) };
}

function loadByHeader(request: BootRequest, image: Image, header: number): Loaded {
  const [headerAddress, loadAddress, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((offset) =>
    image.u32(header + offset),
  ) as [number, number, number, number, number];
  // The file's part that is loaded begins as far before the header as the addresses say.
  const offset = header - (headerAddress - loadAddress);
  const size = loadEnd === 0 ? image.bytes.length - offset : loadEnd - loadAddress;
  if (offset < 0 || size < 0 || loadAddress > headerAddress)
    throw image.error('the addresses in its multiboot header make no sense.');
  const bytes = image.slice(offset, size, 'what its multiboot header describes');
  const end = Math.max(loadAddress + size, bssEnd);
  place(request, image, bytes, loadAddress, end - loadAddress);
  return { entry, end };
}

/** The information structure, with what it points to behind it; the module on the page behind the kernel. */
function writeInfo(request: BootRequest, kernelEnd: number): void {
  const { ram, initrd, memory } = request;
  const map = memoryMap(ram);
  const [mapAt, moduleAt, nameAt] = [0x80, 0x180, 0x1a0];
  const info = new DataView(new ArrayBuffer(0x200));
  const u32 = (offset: number, value: number): void => {
    info.setUint32(offset, value, true);
  };
  u32(0, INFO_MEMORY | INFO_COMMAND_LINE | INFO_MAP | INFO_LOADER_NAME | (initrd === undefined ? 0 : INFO_MODULES));
  u32(4, CONVENTIONAL_END / KiB);
  u32(8, (split(ram).low - EXTENDED) / KiB);
  u32(16, placeCommandLine(request));
  if (initrd !== undefined) {
    const base = Math.ceil(Math.max(kernelEnd, EXTENDED) / 4096) * 4096;
    place(request, initrd, initrd.bytes, base);
    u32(20, 1);
    u32(24, BOOT.multibootInfo + moduleAt);
    u32(moduleAt, base);
    u32(moduleAt + 4, base + initrd.bytes.length);
    u32(moduleAt + 8, BOOT.multibootInfo + nameAt);
  }
  u32(44, 24 * map.length);
  u32(48, BOOT.multibootInfo + mapAt);
  map.forEach(({ base, size, type }, index) => {
    const at = mapAt + 24 * index;
    u32(at, 20); // bytes that follow
    info.setBigUint64(at + 4, BigInt(base), true);
    info.setBigUint64(at + 12, BigInt(size), true);
    u32(at + 20, type);
  });
  u32(64, BOOT.multibootInfo + nameAt);
  new Uint8Array(info.buffer).set(Buffer.from('nvmm-pc\0'), nameAt);
  memory.write(BOOT.multibootInfo, new Uint8Array(info.buffer));
}
