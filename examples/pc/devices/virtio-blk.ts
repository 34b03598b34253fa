// The virtio block device (Virtual I/O Device 1.2, section 5.2).
import { SECTOR, type Disk } from '../backends/disk.js';
import type { VirtioDevice } from './virtio-pci.js';
import { scatter, totalLength, type Chain, type VirtQueue } from './virtqueue.js';

const FEATURE_SEG_MAX = 2;
const FEATURE_READ_ONLY = 5;
const FEATURE_BLOCK_SIZE = 6;
const FEATURE_FLUSH = 9;

const REQUEST_IN = 0;
const REQUEST_OUT = 1;
const REQUEST_FLUSH = 4;
const REQUEST_GET_ID = 8;
const HEADER_SIZE = 16;

const STATUS_OK = 0;
const STATUS_IO_ERROR = 1;
const STATUS_UNSUPPORTED = 2;

/** Bytes of one request: more is refused, so that a guest can't make this process allocate at will. */
const REQUEST_LIMIT = 64 * 1024 * 1024;

export class VirtioBlock implements VirtioDevice {
  readonly type = 2;
  readonly classCode = 0x010000;
  readonly features: readonly number[];
  readonly config = new DataView(new ArrayBuffer(24));
  readonly queueCount = 1;
  onWork: (index: number) => void = () => undefined;
  readonly #disk: Disk;
  readonly #id: Buffer;

  constructor(disk: Disk, id: string) {
    this.#disk = disk;
    this.#id = Buffer.alloc(20);
    this.#id.write(id);
    this.features = [FEATURE_SEG_MAX, FEATURE_BLOCK_SIZE, FEATURE_FLUSH, ...(disk.readOnly ? [FEATURE_READ_ONLY] : [])];
    this.config.setBigUint64(0, BigInt(disk.sectors), true);
    this.config.setUint32(12, 126, true); // data segments of a request
    this.config.setUint32(20, SECTOR, true);
  }

  work(_index: number, queue: VirtQueue): void {
    for (let chain = queue.take(); chain !== undefined; chain = queue.take()) {
      queue.put(chain.head, this.#handle(chain));
    }
  }

  /** Does a request; how many bytes of it were written, the status at the end included. */
  #handle({ readable, writable }: Chain): number {
    const [sent, room] = [totalLength(readable), totalLength(writable) - 1];
    if (sent < HEADER_SIZE || room < 0) return 0; // not even a place for the status
    let status = STATUS_IO_ERROR;
    let written = 0;
    if (Math.max(sent, room) <= REQUEST_LIMIT) {
      const request = Buffer.concat(readable);
      try {
        [status, written] = this.#perform(request, writable, room);
      } catch {
        // The image could not be read or written.
      }
    }
    scatter(writable, Uint8Array.of(status), room);
    return status === STATUS_OK ? written + 1 : 1;
  }

  #perform(request: Buffer, writable: readonly Uint8Array[], room: number): [status: number, written: number] {
    const sector = request.readUInt32LE(8) + request.readUInt32LE(12) * 2 ** 32;
    const inside = (bytes: number): boolean => bytes % SECTOR === 0 && sector + bytes / SECTOR <= this.#disk.sectors;
    switch (request.readUInt32LE(0)) {
      case REQUEST_IN: {
        if (!inside(room)) return [STATUS_IO_ERROR, 0];
        const data = new Uint8Array(room);
        this.#disk.read(sector, data);
        return [STATUS_OK, scatter(writable, data)];
      }
      case REQUEST_OUT: {
        const data = request.subarray(HEADER_SIZE);
        if (!inside(data.length)) return [STATUS_IO_ERROR, 0];
        this.#disk.write(sector, data);
        return [STATUS_OK, 0];
      }
      case REQUEST_FLUSH:
        this.#disk.flush();
        return [STATUS_OK, 0];
      case REQUEST_GET_ID:
        return [STATUS_OK, scatter(writable, this.#id.subarray(0, room))];
      default:
        return [STATUS_UNSUPPORTED, 0];
    }
  }
}
