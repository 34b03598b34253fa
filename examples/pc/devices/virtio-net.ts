// The virtio network card (Virtual I/O Device 1.2, section 5.1), with one pair of queues.
import type { NetBackend } from '../backends/net.js';
import type { VirtioDevice } from './virtio-pci.js';
import { scatter, totalLength, type VirtQueue } from './virtqueue.js';

const FEATURE_MAC = 5;
const FEATURE_STATUS = 16;

const RECEIVE = 0;
const TRANSMIT = 1;

/** Before each frame; nothing of it is used without features for it. The number of buffers at its end is 1. */
const HEADER_SIZE = 12;
const HEADER_BUFFERS = 10;

const STATUS_LINK_UP = 1;

/** Frames that wait for buffers of the guest: what comes then is lost, as on every network. */
const WAITING = 256;

export class VirtioNet implements VirtioDevice {
  readonly type = 1;
  readonly classCode = 0x020000;
  readonly features = [FEATURE_MAC, FEATURE_STATUS];
  readonly config = new DataView(new ArrayBuffer(8));
  readonly queueCount = 2;
  onWork: (index: number) => void = () => undefined;
  readonly #network: NetBackend;
  readonly #waiting: Uint8Array[] = [];

  /** @param mac six bytes. */
  constructor(network: NetBackend, mac: Uint8Array) {
    this.#network = network;
    new Uint8Array(this.config.buffer).set(mac);
    this.config.setUint16(6, STATUS_LINK_UP, true);
    network.onFrame = (frame) => {
      if (this.#waiting.length < WAITING) this.#waiting.push(frame);
      this.onWork(RECEIVE);
    };
  }

  work(index: number, queue: VirtQueue): void {
    if (index === TRANSMIT) this.#transmit(queue);
    else this.#receive(queue);
  }

  #transmit(queue: VirtQueue): void {
    for (let chain = queue.take(); chain !== undefined; chain = queue.take()) {
      if (totalLength(chain.readable) <= HEADER_SIZE + MAX_FRAME) {
        this.#network.send(Buffer.concat(chain.readable).subarray(HEADER_SIZE));
      }
      queue.put(chain.head, 0);
    }
  }

  #receive(queue: VirtQueue): void {
    while (this.#waiting.length > 0 && queue.hasWork) {
      const frame = this.#waiting.shift()!;
      const chain = queue.take()!;
      const packet = new Uint8Array(HEADER_SIZE + frame.length);
      packet[HEADER_BUFFERS] = 1;
      packet.set(frame, HEADER_SIZE);
      // A buffer that is too small for the frame gets nothing: half a frame is none.
      const fits = totalLength(chain.writable) >= packet.length;
      queue.put(chain.head, fits ? scatter(chain.writable, packet) : 0);
    }
  }
}

/** Bytes of an Ethernet frame with a VLAN tag, and some to spare. */
const MAX_FRAME = 1600;
