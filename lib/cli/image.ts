// The files that `nvmm run` takes: flat binaries, and kernels of the Multiboot specification (version 1), as 32-bit ELF or with
// the addresses in their header. Whatever a file says is checked: it is not trusted.
import { CommandError } from './output.js';

export interface LoadedImage {
  readonly kind: 'flat' | 'multiboot';
  /** Where it begins to run. */
  readonly entry: number;
  /** RAX and RBX at the entry. */
  readonly eax: number;
  readonly ebx: number;
}

const HEADER_MAGIC = 0x1bad_b002;
const LOADER_MAGIC = 0x2bad_b002;
const HEADER_WITHIN = 8192;
const ELF_MAGIC = 0x464c_457f;
/** Of the header's flags, those that must be understood: aligned modules and memory sizes are; video modes are not. */
const REQUIRED_AND_UNKNOWN = 0xfffc;
const HAS_ADDRESSES = 0x1_0000;

/** Where the information for a multiboot kernel goes: above the BIOS's data, below what a kernel is linked to. */
const INFO = 0x9000;
const COMMAND_LINE = 0x9100;
const MAX_COMMAND_LINE = 0xe00;
const INFO_MEMORY_AND_COMMAND_LINE = 0x05;
const CONVENTIONAL_KIB = 640;

/** Whether a file has a multiboot header. */
export const isMultiboot = (file: Uint8Array): boolean => findHeader(viewOf(file)) !== undefined;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** @throws CommandError if it does not fit. */
export function loadFlat(memory: Uint8Array, file: Uint8Array, address: number): LoadedImage {
  copy(memory, address, file, file.length);
  return { kind: 'flat', entry: address, eax: 0, ebx: 0 };
}

/** @throws CommandError if the file makes no sense, or needs more than there is. */
export function loadMultiboot(memory: Uint8Array, file: Uint8Array, commandLine: string): LoadedImage {
  const view = viewOf(file);
  const header = findHeader(view);
  if (header === undefined) throw new CommandError('The file has no multiboot header.');
  const flags = view.getUint32(header + 4, true);
  if ((flags & REQUIRED_AND_UNKNOWN) !== 0) {
    throw new CommandError(
      `The kernel asks its loader for what this one has not (multiboot flags 0x${flags.toString(16)}).`,
    );
  }
  const hasAddresses = (flags & HAS_ADDRESSES) !== 0;
  const entry = hasAddresses ? loadByHeader(memory, file, view, header) : loadElf(memory, file, view);
  writeInformation(memory, commandLine);
  return { kind: 'multiboot', entry, eax: LOADER_MAGIC, ebx: INFO };
}

function findHeader(view: DataView): number | undefined {
  for (let at = 0; at + 12 <= Math.min(view.byteLength, HEADER_WITHIN); at += 4) {
    const word = (index: number): number => view.getUint32(at + 4 * index, true);
    if (word(0) === HEADER_MAGIC && (word(0) + word(1) + word(2)) % 2 ** 32 === 0) return at;
  }
  return undefined;
}

function loadByHeader(memory: Uint8Array, file: Uint8Array, view: DataView, header: number): number {
  if (header + 32 > view.byteLength) throw new CommandError('The multiboot header is cut short.');
  const field = (offset: number): number => view.getUint32(header + offset, true);
  const [headerAddress, load, loadEnd, bssEnd, entry] = [field(12), field(16), field(20), field(24), field(28)];
  const begin = header - (headerAddress - load);
  const end = loadEnd === 0 ? file.length : begin + (loadEnd - load);
  if (begin < 0 || end < begin || end > file.length) {
    throw new CommandError('The addresses in the multiboot header make no sense.');
  }
  copy(memory, load, file.subarray(begin, end), Math.max(end - begin, bssEnd - load));
  return entry;
}

function loadElf(memory: Uint8Array, file: Uint8Array, view: DataView): number {
  const isElf32 = view.byteLength >= 52 && view.getUint32(0, true) === ELF_MAGIC && view.getUint8(4) === 1;
  if (!isElf32) throw new CommandError('A multiboot kernel is a 32-bit ELF file, or has the addresses in its header.');
  const table = view.getUint32(28, true);
  const size = view.getUint16(42, true);
  const count = view.getUint16(44, true);
  if (size < 32 || table + size * count > view.byteLength) {
    throw new CommandError('The ELF file is cut short: its program headers are not in it.');
  }
  let total = 0; // segments may overlap, and a file may name 65535 of them
  for (let i = 0; i < count; i++) {
    const field = (offset: number): number => view.getUint32(table + size * i + offset, true);
    const [type, offset, address, inFile, inMemory] = [field(0), field(4), field(12), field(16), field(20)];
    if (type !== 1 || inMemory === 0) continue;
    if (offset + inFile > file.length || inFile > inMemory) {
      throw new CommandError('The ELF file is cut short: a segment is not in it.');
    }
    total += inMemory;
    if (total > memory.length) throw tooLarge(total);
    copy(memory, address, file.subarray(offset, offset + inFile), inMemory);
  }
  return view.getUint32(24, true);
}

/** Puts bytes at a guest-physical address, with zeros behind them up to `size`. */
function copy(memory: Uint8Array, address: number, bytes: Uint8Array, size: number): void {
  if (address + size > memory.length) throw tooLarge(address + size);
  memory.set(bytes, address);
}

const tooLarge = (needed: number): CommandError =>
  new CommandError(
    `The guest's memory ends before 0x${needed.toString(16)}, which the file needs: give it more with --memory.`,
  );

function writeInformation(memory: Uint8Array, commandLine: string): void {
  const text = Buffer.from(`${commandLine}\0`);
  if (text.length > MAX_COMMAND_LINE) throw new CommandError('The arguments are too long.');
  if (memory.length < COMMAND_LINE + text.length)
    throw new CommandError('A multiboot kernel needs --memory 1M at least.');
  memory.set(text, COMMAND_LINE);
  const info = viewOf(memory.subarray(INFO));
  info.setUint32(0, INFO_MEMORY_AND_COMMAND_LINE, true);
  info.setUint32(4, Math.min(CONVENTIONAL_KIB, memory.length / 1024), true);
  info.setUint32(8, Math.max(0, memory.length / 1024 - 1024), true);
  info.setUint32(16, COMMAND_LINE, true);
}
