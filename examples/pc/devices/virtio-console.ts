// The virtio console (Virtual I/O Device 1.2, section 5.3), with one port.
import type { CharChannel } from '../backends/channel.js';
import type { VirtioDevice } from './virtio-pci.js';
import { scatter, totalLength, type VirtQueue } from './virtqueue.js';

const RECEIVE = 0;
const TRANSMIT = 1;

export class VirtioConsole implements VirtioDevice {
  readonly type = 3;
  readonly classCode = 0x078000;
  readonly features = [];
  readonly config = new DataView(new ArrayBuffer(12));
  readonly queueCount = 2;
  onWork: (index: number) => void = () => undefined;
  readonly #channel: CharChannel;

  constructor(channel: CharChannel) {
    this.#channel = channel;
    channel.onInput = () => {
      this.onWork(RECEIVE);
    };
    channel.onReady = () => {
      this.onWork(TRANSMIT);
    };
  }

  work(index: number, queue: VirtQueue): void {
    if (index === TRANSMIT) this.#transmit(queue);
    else this.#receive(queue);
  }

  /** Buffers stay in the queue while whoever takes the output is behind. */
  #transmit(queue: VirtQueue): void {
    while (this.#channel.ready) {
      const chain = queue.take();
      if (chain === undefined) return;
      for (const piece of chain.readable) this.#channel.send(piece);
      queue.put(chain.head, 0);
    }
  }

  #receive(queue: VirtQueue): void {
    while (this.#channel.available && queue.hasWork) {
      const chain = queue.take()!;
      const bytes = this.#channel.receive(totalLength(chain.writable));
      queue.put(chain.head, scatter(chain.writable, bytes));
    }
  }
}
