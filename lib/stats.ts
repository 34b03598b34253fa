// The status that a VCPU's native side shares with every thread: two flags, then counters.
import { ExitReason, exitReasonName } from './exit.js';

/** Index of the word that is not 0 while the VCPU runs, or the result of an asynchronous run is on its way. */
export const STATUS_BUSY = 0;
/** Index of the word that is not 0 once the VCPU is destroyed. */
export const STATUS_DESTROYED = 1;

const { NONE, MEMORY, IO, SHUTDOWN, INT_READY, NMI_READY, HALTED, TPR_CHANGED } = ExitReason;
const { RDMSR, WRMSR, MONITOR, MWAIT, CPUID, STOPPED, INVALID } = ExitReason;

// In the order of the counters; the last one is of reasons that this version does not know.
const REASONS = [
  ...[NONE, MEMORY, IO, SHUTDOWN, INT_READY, NMI_READY, HALTED, TPR_CHANGED],
  ...[RDMSR, WRMSR, MONITOR, MWAIT, CPUID, STOPPED, INVALID, NaN],
];

/** What has happened to a VCPU since it was created: `vcpu.stats`. */
export interface VcpuStats {
  /** Runs that have ended, asynchronous or not, without those that threw. A coalesced write is a run, too. */
  readonly runs: number;
  /** The same by the name of the reason, as 'IO'; reasons that never came are not listed. */
  readonly exits: Readonly<Record<string, number>>;
  /** Calls of `stop()`, those of `destroy()` included. */
  readonly stops: number;
  /** Signals sent to a thread that ran it, because of a stop, a request that waited, or a Worker's termination. */
  readonly kicks: number;
  /** Writes that `configureCoalescing` has collected. */
  readonly coalesced: number;
}

export function readStats(status: ArrayBuffer): VcpuStats {
  const counters = Array.from(new BigUint64Array(status, 8), Number);
  const exits: Record<string, number> = {};
  let runs = 0;
  REASONS.forEach((reason, i) => {
    const count = counters[i]!;
    runs += count;
    if (count !== 0) exits[exitReasonName(reason)] = count;
  });
  const [stops = 0, kicks = 0, coalesced = 0] = counters.slice(REASONS.length);
  return { runs, exits, stops, kicks, coalesced };
}
