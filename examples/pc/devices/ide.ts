// The IDE function of the PIIX3: two channels with two ATA disks each, programmed I/O only (ATA/ATAPI-6).
import type { Disk } from '../backends/disk.js';
import { SECTOR } from '../backends/disk.js';
import type { Bus } from '../bus.js';
import type { Line } from '../line.js';
import { PciFunction } from './pci.js';

const STATUS_ERROR = 0x01;
const STATUS_DATA_REQUEST = 0x08;
const STATUS_SEEK_COMPLETE = 0x10;
const STATUS_READY = 0x40;

const ERROR_ABORTED = 0x04;
const ERROR_ID_NOT_FOUND = 0x10;
const ERROR_UNCORRECTABLE = 0x40;

const DEVICE_SECOND = 0x10;
const DEVICE_LBA = 0x40;
const DEVICE_OBSOLETE = 0xa0;

const CONTROL_NO_INTERRUPT = 0x02;
const CONTROL_RESET = 0x04;
const CONTROL_HIGH_ORDER = 0x80;

/** Sectors that READ and WRITE MULTIPLE may move at once. */
const MULTIPLE_MAX = 16;

/** Heads and sectors of the geometry that disks claim; the cylinders follow from the size. */
const HEADS = 16;
const SECTORS = 63;

/** A register that is written twice for 48-bit commands: the last value, and the one before. */
interface TwoDeep {
  now: number;
  before: number;
}
const twoDeep = (now = 0): TwoDeep => ({ now, before: 0 });

/** Sectors under way between the disk and the data register. */
interface Transfer {
  readonly write: boolean;
  lba: number;
  /** Sectors not moved yet, those in the buffer included. */
  left: number;
  /** Sectors a block: how many come between two interrupts. */
  readonly block: number;
  buffer: Uint8Array;
  at: number;
}

/** One ATA disk. */
class Drive {
  readonly disk: Disk;
  status = STATUS_READY | STATUS_SEEK_COMPLETE;
  error = 1; // passed its diagnostics
  interrupt = false;
  readonly features = twoDeep();
  readonly count = twoDeep(1);
  readonly low = twoDeep(1);
  readonly middle = twoDeep();
  readonly high = twoDeep();
  #transfer: Transfer | undefined;
  #multiple = 0;
  #heads = HEADS;
  #sectors = SECTORS;

  constructor(disk: Disk) {
    this.disk = disk;
  }

  reset(): void {
    this.#transfer = undefined;
    this.status = STATUS_READY | STATUS_SEEK_COMPLETE;
    this.interrupt = false;
    this.#signature();
  }

  /** What tells an ATA disk from others after a reset. */
  #signature(): void {
    this.error = 1;
    this.count.now = this.low.now = 1;
    this.middle.now = this.high.now = 0;
  }

  // ---- The data register ----

  readData(size: number): number {
    const transfer = this.#transfer;
    if (transfer === undefined || transfer.write) return 0;
    let value = 0;
    for (let i = 0; i < size; i++) value += (transfer.buffer[transfer.at + i] ?? 0) * 2 ** (8 * i);
    transfer.at += size;
    if (transfer.at >= transfer.buffer.length) this.#nextRead(transfer);
    return value;
  }

  writeData(value: number, size: number): void {
    const transfer = this.#transfer;
    if (transfer?.write !== true) return;
    for (let i = 0; i < size; i++) transfer.buffer[transfer.at + i] = value >>> (8 * i);
    transfer.at += size;
    if (transfer.at >= transfer.buffer.length) this.#nextWrite(transfer);
  }

  /** The buffer was read: the next block, or the end. */
  #nextRead(transfer: Transfer): void {
    const moved = transfer.buffer.length / SECTOR;
    transfer.left -= moved;
    transfer.lba += moved;
    if (transfer.left > 0) this.#fill(transfer);
    else this.#finish(0, false);
  }

  #fill(transfer: Transfer): void {
    transfer.buffer = new Uint8Array(Math.min(transfer.left, transfer.block) * SECTOR);
    transfer.at = 0;
    try {
      this.disk.read(transfer.lba, transfer.buffer);
    } catch {
      this.#finish(ERROR_UNCORRECTABLE);
      return;
    }
    this.#request();
  }

  /** The buffer was written: to the disk with it. */
  #nextWrite(transfer: Transfer): void {
    try {
      this.disk.write(transfer.lba, transfer.buffer);
    } catch {
      this.#finish(ERROR_UNCORRECTABLE);
      return;
    }
    const moved = transfer.buffer.length / SECTOR;
    transfer.left -= moved;
    transfer.lba += moved;
    if (transfer.left === 0) {
      this.#finish();
      return;
    }
    transfer.buffer = new Uint8Array(Math.min(transfer.left, transfer.block) * SECTOR);
    transfer.at = 0;
    this.#request();
  }

  #request(): void {
    this.status = STATUS_READY | STATUS_SEEK_COMPLETE | STATUS_DATA_REQUEST;
    this.interrupt = true;
  }

  #finish(error = 0, interrupt = true): void {
    this.#transfer = undefined;
    this.error = error;
    this.status = STATUS_READY | STATUS_SEEK_COMPLETE | (error !== 0 ? STATUS_ERROR : 0);
    this.interrupt = interrupt;
  }

  // ---- Commands ----

  command(command: number, device: number): void {
    this.error = 0;
    switch (command) {
      case 0x20: // READ SECTORS, with and without retries
      case 0x21:
        this.#start(false, false, 1, device);
        break;
      case 0x24: // READ SECTORS EXT
        this.#start(false, true, 1, device);
        break;
      case 0xc4: // READ MULTIPLE
        this.#start(false, false, this.#multiple, device);
        break;
      case 0x29: // READ MULTIPLE EXT
        this.#start(false, true, this.#multiple, device);
        break;
      case 0x30: // WRITE SECTORS
      case 0x31:
        this.#start(true, false, 1, device);
        break;
      case 0x34: // WRITE SECTORS EXT
        this.#start(true, true, 1, device);
        break;
      case 0xc5: // WRITE MULTIPLE
        this.#start(true, false, this.#multiple, device);
        break;
      case 0x39: // WRITE MULTIPLE EXT
        this.#start(true, true, this.#multiple, device);
        break;
      case 0x40: // READ VERIFY SECTORS
      case 0x41:
        this.#finish(this.#range(false, device) === undefined ? ERROR_ID_NOT_FOUND : 0);
        break;
      case 0x42: // READ VERIFY SECTORS EXT
        this.#finish(this.#range(true, device) === undefined ? ERROR_ID_NOT_FOUND : 0);
        break;
      case 0x90: // EXECUTE DEVICE DIAGNOSTIC
        this.#finish();
        this.#signature();
        break;
      case 0x91: // INITIALIZE DEVICE PARAMETERS: the geometry of CHS addresses
        this.#heads = (device & 15) + 1;
        this.#sectors = this.count.now;
        this.#finish();
        break;
      case 0xc6: // SET MULTIPLE MODE
        if (this.count.now > MULTIPLE_MAX || (this.count.now & (this.count.now - 1)) !== 0) this.#finish(ERROR_ABORTED);
        else {
          this.#multiple = this.count.now;
          this.#finish();
        }
        break;
      case 0xe5: // CHECK POWER MODE
        this.#finish();
        this.count.now = 0xff; // active
        break;
      case 0xe7: // FLUSH CACHE
      case 0xea: // FLUSH CACHE EXT
        this.#flush();
        break;
      case 0xec: // IDENTIFY DEVICE
        this.#transfer = { write: false, lba: 0, left: 1, block: 1, buffer: this.#identify(), at: 0 };
        this.#request();
        break;
      case 0xef: // SET FEATURES: transfer modes and caches, of which none makes a difference
      case 0xe0: // STANDBY IMMEDIATE
      case 0xe1: // IDLE IMMEDIATE
      case 0xe2: // STANDBY
      case 0xe3: // IDLE
        this.#finish();
        break;
      case 0xf8: // READ NATIVE MAX ADDRESS
        this.#finish();
        this.#setAddress(Math.min(this.disk.sectors, 2 ** 28) - 1);
        break;
      default:
        // 1x RECALIBRATE and 7x SEEK have nothing to do.
        this.#finish((command & 0xf0) === 0x10 || (command & 0xf0) === 0x70 ? 0 : ERROR_ABORTED);
    }
  }

  #start(write: boolean, extended: boolean, block: number, device: number): void {
    if (block === 0) {
      this.#finish(ERROR_ABORTED);
      return;
    }
    const range = this.#range(extended, device);
    if (range === undefined) {
      this.#finish(ERROR_ID_NOT_FOUND);
      return;
    }
    const transfer: Transfer = { write, lba: range.lba, left: range.count, block, buffer: new Uint8Array(0), at: 0 };
    this.#transfer = transfer;
    if (!write) {
      this.#fill(transfer);
      return;
    }
    transfer.buffer = new Uint8Array(Math.min(transfer.left, block) * SECTOR);
    this.#request();
    this.interrupt = false; // the first block of a write is asked for without one
  }

  #flush(): void {
    try {
      this.disk.flush();
      this.#finish();
    } catch {
      this.#finish(ERROR_UNCORRECTABLE);
    }
  }

  /** The sectors that the registers name; undefined if the disk hasn't got them. */
  #range(extended: boolean, device: number): { lba: number; count: number } | undefined {
    let lba: number;
    let count = this.count.now === 0 ? 256 : this.count.now;
    const low24 = this.low.now | (this.middle.now << 8) | (this.high.now << 16);
    if (extended) {
      const both = this.count.now | (this.count.before << 8);
      count = both === 0 ? 65_536 : both;
      lba = low24 + (this.low.before | (this.middle.before << 8) | (this.high.before << 16)) * 2 ** 24;
    } else if ((device & DEVICE_LBA) !== 0) lba = low24 + (device & 15) * 2 ** 24;
    else {
      const cylinder = this.middle.now | (this.high.now << 8);
      if (this.low.now === 0 || this.low.now > this.#sectors) return undefined;
      lba = (cylinder * this.#heads + (device & 15)) * this.#sectors + this.low.now - 1;
    }
    return lba + count <= this.disk.sectors ? { lba, count } : undefined;
  }

  #setAddress(lba: number): void {
    this.low.now = lba & 0xff;
    this.middle.now = (lba >> 8) & 0xff;
    this.high.now = (lba >> 16) & 0xff;
  }

  #identify(): Uint8Array {
    const words = new DataView(new ArrayBuffer(SECTOR));
    const set = (word: number, value: number): void => {
      words.setUint16(2 * word, value, true);
    };
    const set32 = (word: number, value: number): void => {
      words.setUint32(2 * word, value, true);
    };
    /** ASCII, two characters a word, the first one in the upper half. */
    const text = (word: number, length: number, value: string): void => {
      Buffer.from(value.padEnd(2 * length), 'latin1').forEach((letter, i) => {
        words.setUint8(2 * word + (i ^ 1), letter);
      });
    };
    const { sectors } = this.disk;
    const cylinders = Math.min(16_383, Math.floor(sectors / (HEADS * SECTORS)));
    set(0, 0x0040); // a fixed disk
    set(1, cylinders);
    set(3, HEADS);
    set(6, SECTORS);
    text(10, 10, 'NVMM0001');
    text(23, 4, '1.0');
    text(27, 20, 'NVMM IDE DISK');
    set(47, 0x8000 | MULTIPLE_MAX);
    set(48, 1); // 32-bit data accesses
    set(49, 0x0200); // LBA, and no DMA
    set(53, 0x0003); // words 54 to 58 and 64 to 70 are valid
    set(54, cylinders);
    set(55, this.#heads);
    set(56, this.#sectors);
    set32(57, cylinders * HEADS * SECTORS);
    if (this.#multiple !== 0) set(59, 0x0100 | this.#multiple);
    set32(60, Math.min(sectors, 2 ** 28 - 1));
    set(64, 0x0003); // PIO modes 3 and 4
    set(67, 120);
    set(68, 120);
    set(80, 0x007e); // ATA-1 to ATA/ATAPI-6
    set(82, 0x4000); // NOP
    set(83, 0x7400); // FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses
    set(84, 0x4000);
    set(85, 0x4000);
    set(86, 0x7400);
    set(87, 0x4000);
    set32(100, sectors % 2 ** 32);
    set32(102, Math.floor(sectors / 2 ** 32));
    return new Uint8Array(words.buffer);
  }
}

/** The registers that the two drives of a cable share. */
class Channel {
  readonly #drives: readonly (Drive | undefined)[];
  readonly #irq: Line;
  #device = 0;
  #control = 0;

  constructor(disks: readonly (Disk | undefined)[], irq: Line) {
    this.#drives = disks.map((disk) => (disk === undefined ? undefined : new Drive(disk)));
    this.#irq = irq;
  }

  connect(ports: Bus, base: number, control: number): void {
    // The data register is 16 bits wide, also where a driver reads 32 of it at once.
    ports.add(
      base,
      8,
      {
        read: (o, size) => this.#read(o, size),
        write: (o, value, size) => {
          this.#write(o, value, size);
        },
      },
      4,
    );
    ports.add(control, 1, {
      read: () => this.#selected?.status ?? 0, // the status again, without acknowledging the interrupt
      write: (_, value) => {
        this.#writeControl(value);
      },
    });
  }

  get #selected(): Drive | undefined {
    return this.#drives[(this.#device & DEVICE_SECOND) === 0 ? 0 : 1];
  }

  #read(offset: number, size: number): number {
    const drive = this.#selected;
    if (offset === 0) {
      const value = drive?.readData(size === 1 ? 2 : size) ?? 0;
      this.#update();
      return value;
    }
    if (size > 1) return this.#read(offset, 1); // only the data register is wider than a byte
    // An absent drive's registers are those of its neighbour, its status is 0: that is how it is found absent.
    const shown = drive ?? this.#drives.find((other) => other !== undefined);
    if (shown === undefined) return 0;
    const deep = (register: TwoDeep): number =>
      (this.#control & CONTROL_HIGH_ORDER) === 0 ? register.now : register.before;
    switch (offset) {
      case 1:
        return shown.error;
      case 2:
        return deep(shown.count);
      case 3:
        return deep(shown.low);
      case 4:
        return deep(shown.middle);
      case 5:
        return deep(shown.high);
      case 6:
        return this.#device | DEVICE_OBSOLETE;
      default:
        if (drive === undefined) return 0;
        drive.interrupt = false;
        this.#update();
        return drive.status;
    }
  }

  #write(offset: number, value: number, size: number): void {
    if (offset === 0) {
      this.#selected?.writeData(value, size === 1 ? 2 : size);
      this.#update();
      return;
    }
    this.#control &= ~CONTROL_HIGH_ORDER;
    if (offset === 6) this.#device = value;
    else if (offset === 7) {
      // A command takes back the interrupt of the one before, so that its own is an edge.
      if (this.#selected !== undefined) this.#selected.interrupt = false;
      this.#update();
      // Diagnostics are for both drives, whichever is selected.
      if (value === 0x90) for (const drive of this.#drives) drive?.command(value, this.#device);
      else this.#selected?.command(value, this.#device);
    } else {
      for (const drive of this.#drives) {
        if (drive === undefined) continue;
        const register = [drive.features, drive.count, drive.low, drive.middle, drive.high][offset - 1]!;
        register.before = register.now;
        register.now = value & 0xff;
      }
    }
    this.#update();
  }

  #writeControl(value: number): void {
    const released = (this.#control & CONTROL_RESET) !== 0 && (value & CONTROL_RESET) === 0;
    this.#control = value;
    if (released) {
      this.#device = 0;
      for (const drive of this.#drives) drive?.reset();
    }
    this.#update();
  }

  #update(): void {
    const drive = this.#selected;
    this.#irq(drive?.interrupt === true && (this.#control & CONTROL_NO_INTERRUPT) === 0);
  }
}

/** Up to four disks; the function for the PCI bus, whose legacy ports are fixed. */
export function connectIde(
  ports: Bus,
  irq: (input: number) => Line,
  disks: readonly (Disk | undefined)[],
): PciFunction {
  const channels = [
    { base: 0x1f0, control: 0x3f6, input: 14, disks: disks.slice(0, 2) },
    { base: 0x170, control: 0x376, input: 15, disks: disks.slice(2, 4) },
  ];
  const pciFunction = new PciFunction({ vendor: 0x8086, device: 0x7010, classCode: 0x010100 });
  channels.forEach(({ base, control, input, disks: own }, index) => {
    new Channel([own[0], own[1]], irq(input)).connect(ports, base, control);
    // The timing registers, whose bit 15 lets the channel answer: as it does here, whatever the guest writes.
    pciFunction.set(0x40 + 2 * index, 2, 0x8000);
    pciFunction.writable(0x40 + 2 * index, 2, 0xffff);
  });
  return pciFunction;
}
