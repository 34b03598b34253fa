// ACPI tables for a BIOS, which places them where it likes: files of the firmware configuration device, and a script that
// tells how to put them together (QEMU's docs/specs/fw_cfg, "etc/table-loader").
import { CHECKSUM, RSDP, rsdp, type AcpiTables } from './acpi.js';

const TABLES = 'etc/acpi/tables';
const ROOT = 'etc/acpi/rsdp';

const ENTRY_SIZE = 128;
const NAME_SIZE = 56;

const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;
const ZONE_HIGH = 1;
const ZONE_BELOW_1MB = 2;

export function acpiFiles(tables: AcpiTables): Map<string, Uint8Array> {
  const bytes = Buffer.from(tables.bytes);
  for (const { at, target } of tables.pointers) bytes.writeUInt32LE(target, at);
  const script = [
    entry(ALLOCATE, [TABLES], [64, 4], [ZONE_HIGH, 1]),
    entry(ALLOCATE, [ROOT], [16, 4], [ZONE_BELOW_1MB, 1]),
    ...tables.pointers.map(({ at }) => entry(ADD_POINTER, [TABLES, TABLES], [at, 4], [4, 1])),
    ...tables.checksums.map(({ start, length }) =>
      entry(ADD_CHECKSUM, [TABLES], [start + CHECKSUM, 4], [start, 4], [length, 4]),
    ),
    entry(ADD_POINTER, [ROOT, TABLES], [RSDP.rsdt, 4], [4, 1]),
    entry(ADD_CHECKSUM, [ROOT], [RSDP.checksum, 4], [0, 4], [RSDP.size, 4]),
  ];
  return new Map<string, Uint8Array>([
    [ROOT, rsdp(tables.rsdt)],
    [TABLES, bytes],
    ['etc/table-loader', Buffer.concat(script)],
  ]);
}

/** A command, names of files, and numbers of so many bytes. */
function entry(command: number, files: readonly string[], ...numbers: readonly [value: number, size: 1 | 4][]): Buffer {
  const bytes = Buffer.alloc(ENTRY_SIZE);
  let at = bytes.writeUInt32LE(command);
  for (const file of files) {
    bytes.write(file, at, 'latin1');
    at += NAME_SIZE;
  }
  for (const [value, size] of numbers) at = bytes.writeUIntLE(value, at, size);
  return bytes;
}
