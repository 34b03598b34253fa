// Virtio over PCI (Virtual I/O Device 1.2, section 4.1): the transport that all virtio devices share.
import type { GuestMemory } from '../memory.js';
import { PciFunction } from './pci.js';
import { VirtQueue } from './virtqueue.js';

const VENDOR = 0x1af4;
const FIRST_DEVICE = 0x1040;
const CAPABILITY_VENDOR_SPECIFIC = 0x09;

/** The memory BAR and its four parts, a page each. */
const BAR = 4;
const BAR_SIZE = 0x4000;
const PART_SIZE = 0x1000;
const CAPABILITIES = [
  { type: 1, offset: 0x0000, length: 56 }, // common configuration
  { type: 3, offset: 0x1000, length: 1 }, // interrupt status
  { type: 4, offset: 0x2000, length: PART_SIZE }, // the device's configuration
  { type: 2, offset: 0x3000, length: PART_SIZE }, // notifications
] as const;
const NOTIFY_MULTIPLIER = 4;

const STATUS_DRIVER_OK = 4;
const STATUS_FEATURES_OK = 8;
const STATUS_NEEDS_RESET = 64;

const ISR_QUEUE = 1;
const ISR_CONFIGURATION = 2;

const FEATURE_VERSION_1 = 32;
const NO_VECTOR = 0xffff;

/** What a device does with its queues: the rest is the transport's. */
export interface VirtioDevice {
  /** 2 for a block device, 3 for a console... (section 5). */
  readonly type: number;
  readonly classCode: number;
  /** Numbers of the feature bits that it offers. */
  readonly features: readonly number[];
  /** Its configuration space: read-only for the driver. */
  readonly config: DataView;
  readonly queueCount: number;
  /** Works off what it can of a queue; called when the driver has notified it, or {@link onWork} was called. */
  work(index: number, queue: VirtQueue): void;
  /** Set by the transport: to be called when a queue should be looked at for another reason than a notification. */
  onWork: (index: number) => void;
}

export class VirtioPci {
  readonly function: PciFunction;
  readonly #device: VirtioDevice;
  readonly #queues: readonly VirtQueue[];
  readonly #offered: readonly [number, number];
  #accepted: [number, number] = [0, 0];
  #offeredSelect = 0;
  #acceptedSelect = 0;
  #queueSelect = 0;
  #status = 0;
  #isr = 0;

  constructor(device: VirtioDevice, memory: GuestMemory) {
    this.#device = device;
    this.#queues = Array.from({ length: device.queueCount }, () => new VirtQueue(memory));
    const word = (first: number): number =>
      [...device.features, FEATURE_VERSION_1].reduce(
        (bits, bit) => (bit >= first && bit < first + 32 ? (bits | (1 << (bit - first))) >>> 0 : bits),
        0,
      );
    this.#offered = [word(0), word(32)];
    device.onWork = (index) => {
      this.#work(index);
    };
    this.function = new PciFunction({
      vendor: VENDOR,
      device: FIRST_DEVICE + device.type,
      classCode: device.classCode,
      revision: 1,
      subsystemVendor: VENDOR,
      subsystem: 0x1100,
    });
    this.function.setInterruptPin(1);
    this.function.addBar(BAR, 'memory', BAR_SIZE, {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, value, size) => {
        this.#write(offset, value, size);
      },
    });
    for (const { type, offset, length } of CAPABILITIES) {
      const body = new DataView(new ArrayBuffer(type === 2 ? 18 : 14));
      body.setUint8(0, body.byteLength + 2);
      body.setUint8(1, type);
      body.setUint8(2, BAR);
      body.setUint32(6, offset, true);
      body.setUint32(10, length, true);
      if (type === 2) body.setUint32(14, NOTIFY_MULTIPLIER, true);
      this.function.addCapability(CAPABILITY_VENDOR_SPECIFIC, [...new Uint8Array(body.buffer)]);
    }
  }

  #read(offset: number, size: number): number {
    const within = offset % PART_SIZE;
    switch (Math.floor(offset / PART_SIZE)) {
      case 0:
        return this.#readCommon(within);
      case 1: {
        const isr = within === 0 ? this.#isr : 0;
        this.#isr = 0;
        this.function.interrupt(false);
        return isr;
      }
      case 2: {
        const { config } = this.#device;
        let value = 0;
        for (let i = 0; i < size && within + i < config.byteLength; i++) {
          value += config.getUint8(within + i) * 2 ** (8 * i);
        }
        return value;
      }
      default:
        return 0;
    }
  }

  #write(offset: number, value: number, size: number): void {
    const part = Math.floor(offset / PART_SIZE);
    if (part === 0) this.#writeCommon(offset, value, size);
    else if (part === 3) this.#work(Math.floor((offset % PART_SIZE) / NOTIFY_MULTIPLIER));
  }

  get #queue(): VirtQueue | undefined {
    return this.#queues[this.#queueSelect];
  }

  #readCommon(offset: number): number {
    const queue = this.#queue;
    const half = (address: number): number => (offset % 8 === 0 ? address % 2 ** 32 : Math.floor(address / 2 ** 32));
    switch (offset) {
      case 0:
        return this.#offeredSelect;
      case 4:
        return this.#offered[this.#offeredSelect] ?? 0;
      case 8:
        return this.#acceptedSelect;
      case 12:
        return this.#accepted[this.#acceptedSelect] ?? 0;
      case 16: // vectors of MSI-X, which is not there
      case 26:
        return NO_VECTOR;
      case 18:
        return this.#queues.length;
      case 20:
        return this.#status;
      case 22:
        return this.#queueSelect;
      case 24:
        return queue?.size ?? 0;
      case 28:
        return queue?.enabled === true ? 1 : 0;
      case 30:
        return this.#queueSelect; // each queue has its own notification address
      case 32:
      case 36:
        return half(queue?.descriptors ?? 0);
      case 40:
      case 44:
        return half(queue?.available ?? 0);
      case 48:
      case 52:
        return half(queue?.used ?? 0);
      default:
        return 0;
    }
  }

  #writeCommon(offset: number, value: number, size: number): void {
    const queue = this.#queue;
    switch (offset) {
      case 0:
        this.#offeredSelect = value;
        break;
      case 8:
        this.#acceptedSelect = value;
        break;
      case 12:
        if (this.#acceptedSelect < 2) this.#accepted[this.#acceptedSelect as 0 | 1] = value;
        break;
      case 20:
        this.#writeStatus(value & 0xff);
        break;
      case 22:
        this.#queueSelect = value & 0xffff;
        break;
      case 24:
        if (queue !== undefined && !queue.enabled && isPowerOfTwo(value) && value <= VirtQueue.maxSize) {
          queue.size = value;
        }
        break;
      case 28:
        if (queue !== undefined && value === 1) queue.enabled = true;
        break;
      default:
        if (offset >= 32 && offset < 56 && size === 4 && queue?.enabled === false) {
          const part = (['descriptors', 'available', 'used'] as const)[Math.floor((offset - 32) / 8)]!;
          const address = queue[part];
          queue[part] =
            offset % 8 === 0 ? Math.floor(address / 2 ** 32) * 2 ** 32 + value : (address % 2 ** 32) + value * 2 ** 32;
        }
    }
  }

  #writeStatus(value: number): void {
    if (value === 0) {
      this.#status = this.#isr = 0;
      this.#accepted = [0, 0];
      for (const queue of this.#queues) queue.reset();
      this.function.interrupt(false);
      return;
    }
    const [low, high] = this.#accepted;
    const acceptable = (low & ~this.#offered[0]) === 0 && (high & ~this.#offered[1]) === 0 && (high & 1) !== 0;
    // FEATURES_OK does not stay set for features that were not offered, or without VERSION_1.
    this.#status = acceptable ? value : value & ~STATUS_FEATURES_OK;
  }

  #work(index: number): void {
    const queue = this.#queues[index];
    if (queue?.enabled !== true || (this.#status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) !== STATUS_DRIVER_OK)
      return;
    try {
      const before = queue.returned;
      this.#device.work(index, queue);
      if (queue.returned !== before && queue.wantsInterrupt) this.#raise(ISR_QUEUE);
    } catch {
      // A driver that breaks the rules, or names addresses that are no memory, has to start over.
      this.#status |= STATUS_NEEDS_RESET;
      this.#raise(ISR_CONFIGURATION);
    }
  }

  #raise(cause: number): void {
    this.#isr |= cause;
    this.function.interrupt(true);
  }
}

const isPowerOfTwo = (value: number): boolean => value > 0 && (value & (value - 1)) === 0;
