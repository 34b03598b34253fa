import { inspect } from 'node:util';
import { integer, oneOf, options } from './arguments.js';
import { COMM, EVENT } from './x86/layout.js';

/** What `vcpu.inject` delivers to the guest: `struct nvmm_x86_event`. */
export interface VcpuEvent {
  /** 'EXCP' an exception, 'INTR' an external interrupt (vector 2: an NMI): NVMM_VCPU_EVENT_*. */
  type: 'EXCP' | 'INTR';
  /** 0 to 255; for exceptions 1 to 30 without 2 and 3. */
  vector: number;
  /** The error code, 0 to 0xffff, for the exceptions that have one: 8, 10 to 14, 17, 30. Ignored for all others. */
  error?: number;
}

// Exceptions that the driver refuses at the next run (0, 2, 3), or the processor at every later one (31).
const REFUSED_EXCEPTIONS = [0, 2, 3, 31];

/** `event` with its fields checked and read once. */
export function checkEvent(event: unknown): Required<VcpuEvent> {
  if (event === undefined) throw new TypeError('inject needs an event, such as { type: "INTR", vector: 32 }.');
  const fields = options('event', event, ['type', 'vector', 'error']);
  const type = oneOf('event.type', fields.type, ['EXCP', 'INTR']);
  const vector = integer('event.vector', fields.vector, 0, type === 'EXCP' ? 31 : 255);
  const error = fields.error === undefined ? 0 : integer('event.error', fields.error, 0, 0xffff);
  if (type === 'EXCP' && REFUSED_EXCEPTIONS.includes(vector)) {
    throw new RangeError(
      `The exception ${inspect(vector)} cannot be injected: the driver or the processor refuses it.`,
    );
  }
  return { type, vector, error };
}

/** The event fields of a comm page. */
export class EventSlot {
  readonly #view: DataView;

  constructor(comm: ArrayBuffer) {
    this.#view = new DataView(comm);
  }

  /** The event waits for the next run. */
  get committed(): boolean {
    return this.#view.getUint8(COMM.event_commit) !== 0;
  }

  commit({ type, vector, error }: Required<VcpuEvent>): void {
    this.#view.setUint32(COMM.event + EVENT.type, type === 'EXCP' ? 0 : 1, true);
    this.#view.setUint8(COMM.event + EVENT.vector, vector);
    this.#view.setBigUint64(COMM.event + EVENT.error, BigInt(error), true);
    this.#view.setUint8(COMM.event_commit, 1);
  }
}
