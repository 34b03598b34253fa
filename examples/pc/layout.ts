// The map of guest-physical memory, as on every PC.

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** Where conventional memory ends: behind it is what BIOSes keep for themselves, then the VGA and ROMs, up to 1 MiB. */
export const CONVENTIONAL_END = 0x9_fc00;
export const VGA_WINDOW = 0xa_0000;
export const ROM_AREA = 0xf_0000;
export const EXTENDED = 0x10_0000;

/** Memory stops here for the devices below 4 GiB, and goes on above. */
export const LOW_LIMIT = 3 * GiB;
export const HIGH = 4 * GiB;

/** Where things lie that a guest finds when it is started without firmware. */
export const BOOT = {
  gdt: 0x500,
  startInfo: 0x1000,
  zeroPage: 0x2000,
  multibootInfo: 0x3000,
  pageTables: 0x9000, // up to 0xf000
  commandLine: 0x2_0000,
  end: 0x3_0000,
} as const;
export const COMMAND_LINE_LIMIT = BOOT.end - BOOT.commandLine;

/** A range of memory and its type: 1 is usable, 2 reserved (E820). */
export interface MapEntry {
  readonly base: number;
  readonly size: number;
  readonly type: 1 | 2;
}

/** Where `ram` bytes of memory are: below 3 GiB, and above 4. */
export function split(ram: number): { low: number; high: number } {
  return { low: Math.min(ram, LOW_LIMIT), high: Math.max(0, ram - LOW_LIMIT) };
}

/** What the firmware would report. */
export function memoryMap(ram: number): MapEntry[] {
  const { low, high } = split(ram);
  const map: MapEntry[] = [
    { base: 0, size: CONVENTIONAL_END, type: 1 },
    { base: CONVENTIONAL_END, size: VGA_WINDOW - CONVENTIONAL_END, type: 2 },
    { base: ROM_AREA, size: EXTENDED - ROM_AREA, type: 2 },
    { base: EXTENDED, size: low - EXTENDED, type: 1 },
  ];
  return high > 0 ? [...map, { base: HIGH, size: high, type: 1 }] : map;
}
