// What the assists ask of the frontend: `vcpu.configureCallbacks`.
import { NvmmError } from '../errors.js';

/** One access to a port: the argument of the `io` callback. One object is used again and again: keep nothing of it. */
export interface IoAccess {
  /** 0 to 65535. */
  readonly port: number;
  /** True for IN and INS: the callback fills {@link data}, which is zeros. False for OUT and OUTS: it holds what is written. */
  readonly in: boolean;
  /** 1, 2 or 4 bytes. */
  readonly size: number;
  /** `size` bytes, the lowest first. */
  readonly data: Uint8Array;
}

/** One access to guest-physical addresses without memory: the argument of the `mem` callback, used again and again. */
export interface MemAccess {
  /** Address of the first byte. The access does not cross a page. */
  readonly gpa: number;
  /** False: the callback fills {@link data}, which is zeros. True: it holds what is written. */
  readonly write: boolean;
  /** 1, 2, 4, 8 or 16 bytes; anything up to 32 where an access was split between pages or comes from INS or OUTS. */
  readonly size: number;
  /** `size` bytes, the lowest first. */
  readonly data: Uint8Array;
}

/**
 * The device side of the assists. A callback that throws leaves the VCPU as it was before the instruction. A callback must
 * neither change this VCPU's registers nor run or assist it, and can't be asynchronous.
 */
export interface Callbacks {
  /** For `assistIo`. */
  io?: (access: IoAccess) => void;
  /** For `assistMem`, and for `assistIo` where the memory operand of INS or OUTS is not memory. */
  mem?: (access: MemAccess) => void;
}

/** The callbacks as they are set, and what they really return. */
export interface CallbackSlots {
  io: ((access: IoAccess) => unknown) | undefined;
  mem: ((access: MemAccess) => unknown) | undefined;
}

/** The error of an assist whose callback is missing. */
export const noCallback = (operation: string, name: string): NvmmError =>
  new NvmmError('EINVAL', operation, `There is no ${name} callback: set one with configureCallbacks() first.`);

/** Throws if a callback that answers at once has answered with a promise: nobody waits for that. */
export function refusePromise(result: unknown): void {
  if (result instanceof Promise) {
    result.catch(() => undefined);
    throw new TypeError('The callbacks of the assists cannot be asynchronous: the instruction needs its data now.');
  }
}
