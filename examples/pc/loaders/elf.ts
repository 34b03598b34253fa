// Executables in ELF, 32 and 64 bits, as far as kernels are concerned: where the segments go, the entry, the notes.
import { mebibytes, place, type BootRequest } from './boot.js';
import type { Image } from './image.js';

const MAGIC = 0x464c457f;
const CLASS_32 = 1;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const MACHINE_386 = 3;
const MACHINE_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;

export interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly physicalAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

export interface Note {
  readonly name: string;
  readonly type: number;
  readonly value: Uint8Array;
}

export interface Elf {
  readonly bits: 32 | 64;
  readonly entry: number;
  readonly segments: readonly Segment[];
}

export const isElf = (image: Image): boolean => image.bytes.length >= 4 && image.u32(0) === MAGIC;

/** @throws ImageError */
export function parseElf(image: Image): Elf {
  const bits = image.u8(4) === CLASS_64 ? 64 : 32;
  if (image.u8(4) > CLASS_64 || image.u8(4) < CLASS_32 || image.u8(5) !== LITTLE_ENDIAN) {
    throw image.error('this ELF file is not for a PC.');
  }
  const machine = image.u16(18);
  if (machine !== MACHINE_386 && machine !== MACHINE_X86_64) {
    throw image.error(`this ELF file is for another processor (machine ${machine}).`);
  }
  const wide = bits === 64;
  const word = (offset: number): number => (wide ? image.u64(offset) : image.u32(offset));
  const table = word(wide ? 32 : 28);
  const entrySize = image.u16(wide ? 54 : 42);
  const count = image.u16(wide ? 56 : 44);
  if (entrySize < (wide ? 56 : 32)) throw image.error('its program headers are too small.');
  const segments = Array.from({ length: count }, (_, index): Segment => {
    const at = table + index * entrySize;
    const type = image.u32(at, 'its program headers');
    const field = (narrow: number, wideOffset: number): number => word(at + (wide ? wideOffset : narrow));
    image.slice(at, wide ? 56 : 32, 'its program headers');
    return {
      type,
      offset: field(4, 8),
      physicalAddress: field(12, 24),
      fileSize: field(16, 32),
      memorySize: field(20, 40),
    };
  });
  return { bits, entry: word(24), segments };
}

/** Puts the segments into memory, at their physical addresses. @returns where the last one ends. */
export function loadElf(request: BootRequest, image: Image, elf: Elf): number {
  const loaded = elf.segments.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
  if (loaded.length === 0) throw image.error('this ELF file has nothing to load.');
  // Segments that lie on one another could be made to take hours.
  const size = loaded.reduce((sum, { memorySize }) => sum + memorySize, 0);
  if (size > request.ram) {
    const needs = `its segments need ${mebibytes(size)}, the guest has ${mebibytes(request.ram)}`;
    throw image.error(`too little memory: ${needs} (see -m).`);
  }
  for (const { offset, physicalAddress, fileSize, memorySize } of loaded) {
    if (fileSize > memorySize) throw image.error('a segment is larger in the file than in memory.');
    place(request, image, image.slice(offset, fileSize, 'a segment'), physicalAddress, memorySize);
  }
  return Math.max(...loaded.map(({ physicalAddress, memorySize }) => physicalAddress + memorySize));
}

/** The notes of all PT_NOTE segments. */
export function elfNotes(image: Image, elf: Elf): Note[] {
  const notes: Note[] = [];
  const segments = elf.segments.filter(({ type }) => type === PT_NOTE);
  // As above: the same notes again and again would fill memory.
  if (segments.reduce((sum, { fileSize }) => sum + fileSize, 0) > image.bytes.length) {
    throw image.error('its notes are longer than the file.');
  }
  for (const { offset, fileSize } of segments) {
    image.slice(offset, fileSize, 'its notes');
    const end = offset + fileSize;
    for (let at = offset; at + 12 <= end;) {
      const [nameSize, valueSize] = [image.u32(at), image.u32(at + 4)];
      const valueAt = at + 12 + ((nameSize + 3) & ~3);
      const name = image.slice(at + 12, nameSize, 'its notes');
      const value = image.slice(valueAt, valueSize, 'its notes');
      notes.push({ name: Buffer.from(name).toString('latin1').replace(/\0$/, ''), type: image.u32(at + 8), value });
      at = valueAt + Math.ceil(valueSize / 4) * 4;
    }
  }
  return notes;
}
