// ACPI tables: what processors and interrupt controllers there are, how PCI interrupts are wired, how to switch off.
import { IO_APIC_BASE } from '../devices/io-apic.js';
import { APIC_BASE } from '../devices/local-apic.js';
import { irqOfPin, SLOTS } from '../devices/pci.js';
import { PM_PORTS, SLEEP_OFF } from '../devices/power.js';
import { LOW_LIMIT } from '../layout.js';
import * as aml from './aml.js';

const OEM = 'NVMM  ';
const OEM_TABLE = 'NVMMPC  ';
const HEADER_SIZE = 36;
/** Where tables have their checksum. */
export const CHECKSUM = 9;

/** The system control interrupt, and the inputs that PCI interrupts come to: all triggered by level. */
export const SCI_IRQ = 9;
const LEVEL_IRQS = [SCI_IRQ, 10, 11];

const ACTIVE_HIGH_LEVEL = 0x0d;

/** A place in the tables where the address of another one is to be, in 32 bits. */
export interface Pointer {
  readonly at: number;
  /** Offset of the table that it leads to. */
  readonly target: number;
}

/** All tables but the RSDP, one behind the other, with offsets instead of addresses. */
export interface AcpiTables {
  readonly bytes: Buffer;
  readonly pointers: readonly Pointer[];
  /** Ranges whose checksum is to be put in once the pointers are right. */
  readonly checksums: readonly { readonly start: number; readonly length: number }[];
  /** Where the RSDT is. */
  readonly rsdt: number;
}

export const RSDP = { checksum: 8, rsdt: 16, size: 20 } as const;

/** Root System Description Pointer, version 1.0. */
export function rsdp(rsdtAddress: number): Buffer {
  const pointer = Buffer.alloc(RSDP.size);
  pointer.write('RSD PTR ', 0, 'latin1');
  pointer.write(OEM, 9, 'latin1');
  pointer.writeUInt32LE(rsdtAddress, RSDP.rsdt);
  putChecksum(pointer, RSDP.checksum, 0, RSDP.size);
  return pointer;
}

/** Makes the bytes of a range add up to 0. */
function putChecksum(bytes: Uint8Array, at: number, start: number, length: number): void {
  bytes[at] = 0;
  bytes[at] = -bytes.subarray(start, start + length).reduce((sum, byte) => sum + byte, 0);
}

export function acpiTables(processors: number): AcpiTables {
  const facs = Buffer.alloc(64);
  facs.write('FACS', 0, 'latin1');
  facs.writeUInt32LE(facs.length, 4);

  const tables: Buffer[] = [];
  let end = 0;
  const add = (bytes: Buffer): number => {
    const at = end;
    const padding = Buffer.alloc(-bytes.length & 63); // the FACS wants to be aligned, the others don't mind
    tables.push(bytes, padding);
    end += bytes.length + padding.length;
    return at;
  };
  const facsAt = add(facs);
  const dsdtAt = add(table('DSDT', 1, dsdt()));
  const fadtAt = add(table('FACP', 3, fadt()));
  const madtAt = add(table('APIC', 3, madt(processors)));
  const rsdt = add(table('RSDT', 1, Buffer.alloc(8)));
  const bytes = Buffer.concat(tables);
  const sized = [dsdtAt, fadtAt, madtAt, rsdt].map((start) => ({ start, length: bytes.readUInt32LE(start + 4) }));
  return {
    bytes,
    pointers: [
      { at: fadtAt + 36, target: facsAt },
      { at: fadtAt + 40, target: dsdtAt },
      { at: rsdt + HEADER_SIZE, target: fadtAt },
      { at: rsdt + HEADER_SIZE + 4, target: madtAt },
    ],
    checksums: sized,
    rsdt,
  };
}

/** Tables that begin at `address`, complete. */
export function placeTables(tables: AcpiTables, address: number): Buffer {
  const bytes = Buffer.from(tables.bytes);
  for (const { at, target } of tables.pointers) bytes.writeUInt32LE(address + target, at);
  for (const { start, length } of tables.checksums) putChecksum(bytes, start + CHECKSUM, start, length);
  return bytes;
}

function table(signature: string, revision: number, body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_SIZE);
  header.write(signature, 0, 'latin1');
  header.writeUInt32LE(HEADER_SIZE + body.length, 4);
  header.writeUInt8(revision, 8);
  header.write(OEM, 10, 'latin1');
  header.write(OEM_TABLE, 16, 'latin1');
  header.writeUInt32LE(1, 24);
  header.write('NVMM', 28, 'latin1');
  header.writeUInt32LE(1, 32);
  return Buffer.concat([header, body]);
}

// ---- Fixed ACPI Description Table: offsets as in the specification, which counts the header ----

const FADT_SIZE = 244;
const FADT_FLAGS = {
  wbinvd: 1 << 0,
  c1: 1 << 2,
  sleepButtonIsNotFixed: 1 << 5,
  rtcWakeIsNotFixed: 1 << 6,
  resetRegister: 1 << 10,
} as const;
const BOOT_LEGACY_DEVICES = 1;
const BOOT_8042 = 2;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;

function fadt(): Buffer {
  const bytes = Buffer.alloc(FADT_SIZE);
  bytes.writeUInt8(0, 45); // power profile: unspecified
  bytes.writeUInt16LE(SCI_IRQ, 46);
  bytes.writeUInt32LE(PM_PORTS.event, 56);
  bytes.writeUInt32LE(PM_PORTS.control, 64);
  bytes.writeUInt32LE(PM_PORTS.timer, 76);
  bytes.writeUInt8(4, 88);
  bytes.writeUInt8(2, 89);
  bytes.writeUInt8(4, 91);
  bytes.writeUInt16LE(0xfff, 96); // no C2
  bytes.writeUInt16LE(0xfff, 98); // nor C3
  bytes.writeUInt8(0x32, 108); // the century in the RTC
  bytes.writeUInt16LE(BOOT_LEGACY_DEVICES | BOOT_8042, 109);
  bytes.writeUInt32LE(
    Object.values(FADT_FLAGS).reduce((flags, flag) => flags | flag, 0),
    112,
  );
  bytes.set(ioRegister(RESET_PORT, 1), 116);
  bytes.writeUInt8(RESET_VALUE, 128);
  bytes.set(ioRegister(PM_PORTS.event, 4), 148);
  bytes.set(ioRegister(PM_PORTS.control, 2), 172);
  bytes.set(ioRegister(PM_PORTS.timer, 4), 208);
  return bytes.subarray(HEADER_SIZE);
}

/** A generic address structure for `size` bytes of ports. */
function ioRegister(port: number, size: 1 | 2 | 4): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.set([1, 8 * size, 0, size === 4 ? 3 : size]);
  bytes.writeUInt32LE(port, 4);
  return bytes;
}

// ---- Multiple APIC Description Table ----

function madt(processors: number): Buffer {
  const start = Buffer.alloc(8);
  start.writeUInt32LE(APIC_BASE, 0);
  start.writeUInt32LE(1, 4); // there are PICs, too
  const localApics = Array.from({ length: processors }, (_, id) => Buffer.from([0, 8, id, id, 1, 0, 0, 0]));
  const ioApic = Buffer.from([1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  ioApic.writeUInt32LE(IO_APIC_BASE, 4);
  const override = (source: number, input: number, flags: number): Buffer =>
    Buffer.from([2, 10, 0, source, input, 0, 0, 0, flags, 0]);
  return Buffer.concat([
    start,
    ...localApics,
    ioApic,
    override(0, 2, 0), // the timer, as on every PC
    ...LEVEL_IRQS.map((irq) => override(irq, irq, ACTIVE_HIGH_LEVEL)),
    Buffer.from([4, 6, 0xff, 0, 0, 1]), // NMI at LINT1 of all
  ]);
}

// ---- Differentiated System Description Table ----

function dsdt(): Buffer {
  const routes = Array.from({ length: SLOTS - 1 }, (_, i) => i + 1).flatMap((slot) =>
    [1, 2, 3, 4].map((pin) =>
      aml.packageOf(
        aml.integer(slot * 0x1_0000 + 0xffff),
        aml.integer(pin - 1),
        aml.integer(0),
        aml.integer(irqOfPin(slot, pin)),
      ),
    ),
  );
  const isa = (name: string, id: string, ...content: number[][]): number[] =>
    aml.device(name, aml.name('_HID', aml.eisaId(id)), aml.name('_CRS', aml.resources(...content)));
  return Buffer.from([
    ...aml.name('\\_S5', aml.packageOf(aml.integer(SLEEP_OFF), aml.integer(0), aml.integer(0), aml.integer(0))),
    ...aml.scope(
      '\\_SB',
      aml.device(
        'PCI0',
        aml.name('_HID', aml.eisaId('PNP0A03')),
        aml.name('_UID', aml.integer(0)),
        aml.name(
          '_CRS',
          aml.resources(
            aml.busNumbers(0, 0),
            aml.ioPorts(0xcf8, 8),
            aml.portWindow(0, 0xcf7),
            aml.portWindow(0xd00, 0xffff),
            aml.memoryWindow(0xa_0000, 0xb_ffff),
            aml.memoryWindow(LOW_LIMIT, IO_APIC_BASE - 1),
          ),
        ),
        aml.name('_PRT', aml.packageOf(...routes)),
        isa('KBD', 'PNP0303', aml.ioPorts(0x60, 1), aml.ioPorts(0x64, 1), aml.irq(1)),
        isa('RTC', 'PNP0B00', aml.ioPorts(0x70, 2), aml.irq(8)),
      ),
    ),
  ]);
}
