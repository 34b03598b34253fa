// ACPI machine language, as far as the description of this PC needs it (ACPI 6.4, chapter 20).

type Bytes = readonly number[];

const ascii = (text: string): number[] => [...Buffer.from(text, 'latin1')];
const littleEndian = (value: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);

/** PkgLength: counts itself. */
function withLength(content: Bytes): number[] {
  const one = content.length + 1;
  if (one < 0x40) return [one, ...content];
  const two = content.length + 2;
  if (two < 0x1000) return [0x40 | (two & 15), two >> 4, ...content];
  const three = content.length + 3;
  return [0x80 | (three & 15), (three >> 4) & 0xff, three >> 12, ...content];
}

/** A name of one segment, as it stands: four characters, perhaps behind a backslash. */
const nameString = (name: string): number[] =>
  name.startsWith('\\') ? [0x5c, ...nameString(name.slice(1))] : ascii(name.padEnd(4, '_'));

/** The shortest form of a number. */
export function integer(value: number): number[] {
  if (value === 0) return [0x00];
  if (value === 1) return [0x01];
  if (value < 0x100) return [0x0a, value];
  return value < 0x1_0000 ? [0x0b, ...littleEndian(value, 2)] : [0x0c, ...littleEndian(value, 4)];
}

export const scope = (name: string, ...content: Bytes[]): number[] => [
  0x10,
  ...withLength([...nameString(name), ...content.flat()]),
];

export const device = (name: string, ...content: Bytes[]): number[] => [
  ...[0x5b, 0x82],
  ...withLength([...nameString(name), ...content.flat()]),
];

/** Name (NAME, VALUE) */
export const name = (what: string, value: Bytes): number[] => [0x08, ...nameString(what), ...value];

export const packageOf = (...elements: Bytes[]): number[] => [
  0x12,
  ...withLength([elements.length, ...elements.flat()]),
];

/** EisaId ("PNP0A03"), compressed to 32 bits. */
export function eisaId(text: string): number[] {
  const [a, b, c] = ascii(text.slice(0, 3)).map((code) => code & 0x1f) as [number, number, number];
  const product = Number.parseInt(text.slice(3), 16);
  const vendor = (a << 10) | (b << 5) | c;
  return [0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
}

/** ResourceTemplate () { ... } */
export function resources(...descriptors: Bytes[]): number[] {
  const content = [...descriptors.flat(), 0x79, 0]; // the end tag, without a checksum
  return [0x11, ...withLength([...integer(content.length), ...content])];
}

/** IO (Decode16, first, first, 1, length) */
export const ioPorts = (first: number, length: number): number[] => [
  ...[0x47, 1],
  ...littleEndian(first, 2),
  ...littleEndian(first, 2),
  ...[1, length],
];

/** IRQNoFlags () { irq } */
export const irq = (number: number): number[] => [0x22, ...littleEndian(1 << number, 2)];

const PRODUCER_FIXED = 0x0c; // both ends are fixed, decoded by this device

/** WordBusNumber for buses from `first` to `last`. */
export const busNumbers = (first: number, last: number): number[] => addressSpace(0x88, 2, 2, 0, first, last);

/** WordIO: ports that are passed on. */
export const portWindow = (first: number, last: number): number[] => addressSpace(0x88, 2, 1, 3, first, last);

/** DWordMemory: addresses that are passed on, read-write, not cached. */
export const memoryWindow = (first: number, last: number): number[] => addressSpace(0x87, 4, 0, 1, first, last);

function addressSpace(tag: number, size: 2 | 4, type: number, flags: number, first: number, last: number): number[] {
  const fields = [0, first, last, 0, last - first + 1].flatMap((value) => littleEndian(value, size));
  return [tag, ...littleEndian(3 + fields.length, 2), type, PRODUCER_FIXED, flags, ...fields];
}
