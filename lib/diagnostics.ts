// What `node:diagnostics_channel` can hear of this package. Without a subscriber a channel costs one look at a property.
import { channel } from 'node:diagnostics_channel';
import { errnoName } from './errno.js';

/** Message of the channel 'nvmm.request': a system call other than a run that has returned. */
export interface RequestMessage {
  /** As 'NVMM_IOC_HVA_MAP', or 'close'. */
  readonly operation: string;
  /** The errno's name, 'EBUSY'; undefined for success. */
  readonly error: string | undefined;
}

/** Message of the channel 'nvmm.run': a run is about to begin. */
export interface RunMessage {
  /** The machine's id. */
  readonly machine: number;
  /** The VCPU's id. */
  readonly vcpu: number;
  /** By `runAsync()` or `exits()`. */
  readonly asynchronous: boolean;
}

/** Message of the channel 'nvmm.exit': a run has ended. */
export interface ExitMessage {
  /** The machine's id. */
  readonly machine: number;
  /** The VCPU's id. */
  readonly vcpu: number;
  /** One of `ExitReason`; undefined if the run failed. */
  readonly reason: number | undefined;
  /** The errno's name if the run failed. */
  readonly error: string | undefined;
}

export const requestChannel = channel('nvmm.request');
export const runChannel = channel('nvmm.run');
export const exitChannel = channel('nvmm.exit');

/** Tells 'nvmm.request' of a request that was answered with `errno`. */
export function publishRequest(operation: string, errno: number): void {
  if (requestChannel.hasSubscribers) {
    requestChannel.publish({ operation, error: errno === 0 ? undefined : errnoName(errno) });
  }
}
